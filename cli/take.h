/* take.h - opens the storage and takes a lock as the options say: once, by number of attempts, by time, for ever.
 *
 * `dlock run` and `dlock acquire` share it. Signals end the wait; whoever waits is told for whom. */
#ifndef DLOCK_CLI_TAKE_H
#define DLOCK_CLI_TAKE_H

#include "dlock.h"
#include "options.h"
#include "signals.h"

struct take {
    dlock_factory *factory;
    dlock *lock;
    struct signals signals;
    int events;       /* the factory's descriptor */
    int64_t taken_at; /* ms, as duration_now_ms */
};

/* Takes settings->key. If it could not be taken: false, the exit status, which may be 0, and it has said why.
 * take_close is needed either way. */
bool take(struct take *take, const struct settings *settings, const dlock_acquire_options *options, int *ret_status);

/* Releases the lock if it is still held, and closes the rest. */
void take_close(struct take *take);

/* The hold as an info, for reports. */
dlock_info take_info(const struct take *take, uint32_t ttl_ms);

#endif
