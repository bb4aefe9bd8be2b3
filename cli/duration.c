/* duration.c - spans of time as people write and read them.
 *
 * Called by options.c (reading) and by everything that prints. Integers only: no locale, no rounding surprises. */
#include "duration.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static const struct {
    const char *name;
    int64_t us;
} units[] = {{"", 1000000}, {"s", 1000000}, {"ms", 1000}, {"m", 60000000}, {"h", 3600000000}};

bool duration_parse(const char *text, int64_t *ret_ms)
{
    const int64_t billion = 1000000000;
    int64_t whole = 0, fraction = 0, scale = billion;
    size_t digits = 0;

    for (; *text >= '0' && *text <= '9'; text++, digits++) {
        whole = whole * 10 + (*text - '0');
        if (whole > DURATION_MAX_MS)
            return false;
    }
    if (*text == '.')
        for (text++; *text >= '0' && *text <= '9'; text++, digits++) {
            scale /= 10; /* digits beyond the ninth count nothing */
            fraction += scale * (*text - '0');
        }
    if (digits == 0)
        return false;
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        if (strcmp(text, units[i].name) != 0)
            continue;
        if (whole > DURATION_MAX_MS * 1000 / units[i].us)
            return false;
        /* Rounded up, so that what is not zero stays so. */
        int64_t us = whole * units[i].us + (fraction * (units[i].us / 1000) + billion / 1000 - 1) / (billion / 1000);
        int64_t ms = (us + 999) / 1000;
        if (ms > DURATION_MAX_MS)
            return false;
        *ret_ms = ms;
        return true;
    }
    return false;
}

const char *duration_show(int64_t ms, char to[DURATION_SIZE])
{
    int64_t s = ms / 1000;

    if (ms < 0)
        snprintf(to, DURATION_SIZE, "-");
    else if (ms < 1000)
        snprintf(to, DURATION_SIZE, "%" PRId64 "ms", ms);
    else if (s < 60)
        snprintf(to, DURATION_SIZE, "%" PRId64 ".%" PRId64 "s", s, ms % 1000 / 100);
    else if (s < 3600)
        snprintf(to, DURATION_SIZE, "%" PRId64 "m%02" PRId64 "s", s / 60, s % 60);
    else if (s < 86400)
        snprintf(to, DURATION_SIZE, "%" PRId64 "h%02" PRId64 "m", s / 3600, s % 3600 / 60);
    else
        snprintf(to, DURATION_SIZE, "%" PRId64 "d%02" PRId64 "h", s / 86400, s % 86400 / 3600);
    return to;
}

int64_t duration_now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_BOOTTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}
