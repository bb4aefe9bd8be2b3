/* fixture.h - what the tests of the embedded storage share: a folder per test, sessions, processes, and a look into the
 * file behind the storage's back. */
#ifndef DLOCK_TESTS_SQLITE_FIXTURE_H
#define DLOCK_TESTS_SQLITE_FIXTURE_H

#include "dlock_storage.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>
#include <sqlite3.h>
#include <sys/types.h>

#define LONG_MS 600000

/* The folder of the running test, and a file in it. */
extern char folder[64], path[128];

int make_folder(void **state);
int remove_folder(void **state);
#define folder_test(function) cmocka_unit_test_setup_teardown(function, make_folder, remove_folder)

/* Opens a session on `file`. try_open returns what open says, and closes what did not open. */
dlock_status try_open(const char *file, uint32_t timeout_ms, void **ret, dlock_error *error);
void *open_session(void);
void close_session(void *session);

dlock_request request_of(dlock_operation operation, const char *key, const char *owner, uint32_t ttl_ms);
dlock_request ask(void *session, dlock_operation operation, const char *key, const char *owner, uint32_t ttl_ms);
uint64_t acquire(void *session, const char *key, const char *owner, uint32_t ttl_ms);
#define assert_status(request, wanted) assert_answer(request, wanted, __FILE__, __LINE__)
void assert_answer(dlock_request request, dlock_status wanted, const char *file, int line);

/* Opening `file` fails so, and the message says this. */
void assert_refused(const char *file, dlock_status status, const char *message);

/* Runs SQL on `path` with SQLite alone; the first column of the first row, -1 = there is none. */
int64_t run_sql(const char *sql);

/* Runs `work` in a process of its own. It ends well if `work` returns; a child says `die` where a test would assert,
 * because cmocka's asserts would go on with the parent's tests. */
pid_t start(void (*work)(void *arg), void *arg);
#define die(...)                                                                                                       \
    do {                                                                                                               \
        char said[2 * DLOCK_MESSAGE_SIZE];                                                                             \
        snprintf(said, sizeof said, __VA_ARGS__);                                                                      \
        die_saying(said);                                                                                              \
    } while (0)
__attribute__((noreturn)) void die_saying(const char *text);
void assert_ends_well(pid_t child);

/* The content of a file, to be freed; NULL and 0 if it is not there. */
char *read_file(const char *file, size_t *size);
void write_file(const char *file, const void *content, size_t size);

/* For conditions that are waited for: is it too late? Sleeps a little if not. */
bool patience_is_over(int64_t since);

#endif
