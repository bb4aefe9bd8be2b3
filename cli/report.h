/* report.h - what dlock says on standard error, as text or as JSON, and the exit status that goes with it.
 *
 * Used by every command. A line is written in one piece, so that it stays whole between those of the command. */
#ifndef DLOCK_CLI_REPORT_H
#define DLOCK_CLI_REPORT_H

#include <stdbool.h>

#include "dlock.h"

/* Exit statuses, besides those of a command that was run. */
enum {
    STATUS_OK = 0,
    STATUS_FREE = 1,   /* of `status` and `break`: nobody holds it */
    STATUS_USAGE = 64, /* EX_USAGE of sysexits.h, as are the next ones */
    STATUS_UNAVAILABLE = 69,
    STATUS_SYSTEM = 71,
    STATUS_OUTPUT = 74,
    STATUS_BUSY = 75,
    STATUS_LOST = 79,
    STATUS_MAX_HOLD = 124,     /* as of timeout(1) */
    STATUS_NOT_RUNNABLE = 126, /* as of a shell */
    STATUS_NOT_FOUND = 127,
    STATUS_SIGNAL = 128, /* + number */
};

/* How much a report matters. */
enum report_weight {
    REPORT_ERROR,    /* always said */
    REPORT_NOTE,     /* not with --quiet */
    REPORT_PROGRESS, /* with --verbose */
};

/* Before anything is reported. `events`: every event, as JSON, whatever its weight. */
void report_setup(bool quiet, bool verbose, bool events);

/* Something happened: `event` names it to programs, the text tells a person. `key` and `hold` may be NULL; they are
 * for programs. */
void report(enum report_weight weight, const char *event, const char *key, const dlock_info *hold, const char *format,
            ...) DLOCK_PRINTF(5, 6);

/* An error that has no more to it than its text. */
#define report_error(...) report(REPORT_ERROR, "error", NULL, NULL, __VA_ARGS__)

/* A call of the library failed. Says so and returns the exit status. */
int report_failure(const dlock_error *error);

/* Writes what is left on standard output; if that fails, says so and returns STATUS_OUTPUT, else `status`. */
int report_output(int status);

#endif
