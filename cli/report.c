/* report.c - what dlock says on standard error, as text or as JSON, and the exit status that goes with it.
 *
 * Used by every command. */
#include "report.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "json.h"
#include "text.h"

static struct {
    enum report_weight weight; /* what is still said */
    bool events;
} reports = {REPORT_NOTE, false};

void report_setup(bool quiet, bool verbose, bool events)
{
    reports.weight = quiet ? REPORT_ERROR : verbose ? REPORT_PROGRESS : REPORT_NOTE;
    reports.events = events;
}

static void write_line(char *text, size_t length)
{
    text[length] = '\n';
    /* Nobody is left to tell if this fails. */
    if (write(STDERR_FILENO, text, length + 1) < 0)
        return;
}

void report(enum report_weight weight, const char *event, const char *key, const dlock_info *hold, const char *format,
            ...)
{
    char message[DLOCK_MESSAGE_SIZE + DLOCK_KEY_MAX + 256];
    va_list arguments;

    if (weight > reports.weight && !reports.events)
        return;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    if (reports.events) {
        struct json j;
        json_begin(&j);
        json_text(&j, "event", event);
        if (key)
            json_text(&j, "key", key);
        if (hold) {
            json_object(&j, "hold");
            json_info(&j, hold);
            json_object_end(&j);
        }
        json_text(&j, "message", message);
        json_end(&j);
        write_line(j.text, j.length);
    } else {
        char line[4 * sizeof message] = "dlock: ";
        const size_t prefix = strlen(line);
        text_escape(message, line + prefix, sizeof line - prefix - 1);
        write_line(line, strlen(line));
    }
}

int report_failure(const dlock_error *error)
{
    report_error("%s", *error->message ? error->message : dlock_status_text(error->status));
    switch (error->status) {
    case DLOCK_BUSY:
        return STATUS_BUSY;
    case DLOCK_LOST:
        return STATUS_LOST;
    case DLOCK_INVALID:
        return STATUS_USAGE;
    case DLOCK_NOMEM:
        return STATUS_SYSTEM;
    default:
        return STATUS_UNAVAILABLE;
    }
}

int report_output(int status)
{
    const bool flushed = fflush(stdout) == 0;

    if (flushed && !ferror(stdout))
        return status;
    if (flushed) /* an earlier write failed, and errno is of something else by now */
        report_error("cannot write to standard output");
    else
        report_error("cannot write to standard output: %s", strerror(errno));
    return STATUS_OUTPUT;
}
