/* text.h - texts of others on a person's terminal: keys, owners, messages.
 *
 * Used by everything that prints. What could steer a terminal is shown as an escape, never sent to it. */
#ifndef DLOCK_CLI_TEXT_H
#define DLOCK_CLI_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "dlock.h"

/* The UTF-8 character at `text` and the count of its bytes; 0 if there is none. */
size_t text_rune(const char *text, uint32_t *ret);

/* Copies `text` with control characters and stray bytes as \n, \x1b, ...; as much as fits. Returns `to`. */
const char *text_escape(const char *text, char *to, size_t size);

#define TEXT_KEY_SIZE (4 * DLOCK_KEY_MAX + 1) /* any key, escaped */

/* The columns that an escaped text takes, counting each character as one. */
size_t text_width(const char *text);

/* The parts of an owner token, machine:pid:random. */
struct holder {
    char machine[DLOCK_MACHINE_MAX + 1];
    int64_t pid;
    char mark[9]; /* the start of the random part: enough to tell two holds apart, not enough to release one */
};

/* False if `owner` is of another form, as another program may write it; then only `mark` is set. */
bool holder_parse(struct holder *holder, const char *owner);

#define HOLDER_TEXT_SIZE 160

/* Who holds, and since when: "web1 (pid 4711) for 3.2s". Returns `to`. */
const char *holder_show(const dlock_info *info, char to[HOLDER_TEXT_SIZE]);

#endif
