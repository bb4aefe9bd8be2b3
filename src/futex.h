/* futex.h - a thread sleeps until a word in memory changes, and is woken without a mutex.
 *
 * futex(2), private to the process. Whom a condition variable wakes takes the mutex before it looks, which the one that
 * woke it still holds: two more changes of threads. Used by exchange.c. */
#ifndef DLOCK_SRC_FUTEX_H
#define DLOCK_SRC_FUTEX_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define FUTEX_FOREVER INT64_MAX

/* Sleeps while `word` is `value`, at most so long. It may also return early; false = the time is over. */
bool futex_wait(atomic_uint *word, unsigned value, int64_t at_most_us);

/* Wakes whoever sleeps on `word`, which may be gone already: it is not read. */
void futex_wake(atomic_uint *word);

#endif
