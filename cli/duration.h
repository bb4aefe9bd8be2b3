/* duration.h - spans of time as people write and read them: 1.5s, 10m, 250ms.
 *
 * The options use the first, messages and tables the second. */
#ifndef DLOCK_CLI_DURATION_H
#define DLOCK_CLI_DURATION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DURATION_MAX_MS 3600000000 /* 1000 h: what any option takes at most */

/* Reads a decimal number with an optional unit (ms, s, m, h; none = seconds) and rounds it up to milliseconds. False
 * if `text` is not that, or is longer than DURATION_MAX_MS. */
bool duration_parse(const char *text, int64_t *ret_ms);

#define DURATION_SIZE 32

/* Writes `ms` to a precision that a person wants: 340ms, 3.2s, 4m05s, 3h12m, 2d03h; "-" if it is negative (not known).
 * Returns `to`. */
const char *duration_show(int64_t ms, char to[DURATION_SIZE]);

/* Milliseconds on a clock that runs through suspend and is never set. */
int64_t duration_now_ms(void);

#endif
