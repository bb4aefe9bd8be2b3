/* lease.h - pure arithmetic of a lease: validity, renewal times, pauses.
 *
 * Times are microseconds of CLOCK_BOOTTIME, durations in _ms are milliseconds. `chance` is a random number that the
 * caller draws, so that a test replays exactly. */
#ifndef DLOCK_SRC_LEASE_H
#define DLOCK_SRC_LEASE_H

#include <stdbool.h>
#include <stdint.h>

#define LEASE_NEVER INT64_MAX

/* Until when the holder may believe that it holds: counted from `sent_at`, which was read before the request that won
 * was sent, less the drift that two clocks may have, 1 % of the ttl + 2 ms (Redlock, Redis documentation,
 * "Distributed Locks with Redis"). */
int64_t lease_valid_until(int64_t sent_at, uint32_t ttl_ms);

/* When LOST is due: `margin_ms` before validity ends; 0 = a tenth of the ttl, and never
 * more than half of it. */
int64_t lease_lost_at(int64_t valid_until, uint32_t ttl_ms, uint32_t margin_ms);

/* When to renew: a third of the ttl after the request that was answered OK, or up to a 32nd of the ttl sooner, at a
 * moment that many locks share, so that their renewals travel together; after a failed renewal, a twelfth of the
 * ttl later, less up to half of it by chance. */
int64_t lease_renew_at(int64_t sent_at, uint32_t ttl_ms);
int64_t lease_retry_at(int64_t now, uint32_t ttl_ms, uint64_t chance);

/* How long a waiter pauses before it asks again: half to the whole, by chance, of a time that doubles with each attempt
 * from 25 ms to the interval ("full jitter" of Brooker, AWS Architecture Blog, "Exponential Backoff and Jitter", with a
 * floor). */
int64_t lease_pause(uint32_t interval_ms, uint32_t attempts, uint64_t chance);

/* The same of one that will be told of a release, and asks only lest it was not: of LEASE_TOLD_LONGER intervals. */
#define LEASE_TOLD_LONGER 64
int64_t lease_told_pause(uint32_t interval_ms, uint64_t chance);

/* The pause between two attempts that are `interval_ms` apart, after one that met others: up to a quarter longer, so
 * that they do not meet again (Redlock, "Retry on failure"). */
int64_t lease_apart(uint32_t interval_ms, uint64_t chance);

#endif
