/* support.h - what every C test needs: conditions to wait for, and a store of its own. */
#ifndef DLOCK_TESTS_SUPPORT_H
#define DLOCK_TESTS_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <time.h>

/* Waits until `condition` is true; fails the test after 30 seconds, which no machine is too slow for. */
#define wait_for(condition)                                                                                            \
    do {                                                                                                               \
        const time_t give_up = time(NULL) + 30;                                                                        \
        while (!(condition)) {                                                                                         \
            if (time(NULL) > give_up)                                                                                  \
                fail_msg("never came true: %s", #condition);                                                           \
            nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);                                                   \
        }                                                                                                              \
    } while (0)

/* A folder of this test's own, and the URL of an SQLite store in it. */
struct store {
    char folder[64];
    char url[96];
};
void store_init(struct store *store);
void store_deinit(struct store *store);

#endif
