/* text.c - texts of others on a person's terminal: keys, owners, messages.
 *
 * Used by everything that prints. */
#include "text.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "duration.h"

size_t text_rune(const char *text, uint32_t *ret)
{
    const unsigned char *b = (const unsigned char *)text;
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t n = b[0] < 0x80 ? 1 : b[0] < 0xc2 ? 0 : b[0] < 0xe0 ? 2 : b[0] < 0xf0 ? 3 : b[0] < 0xf5 ? 4 : 0;
    uint32_t rune = n == 1 ? b[0] : n ? b[0] & (0xffu >> (n + 1)) : 0;

    for (size_t i = 1; i < n; i++) {
        if ((b[i] & 0xc0) != 0x80)
            return 0;
        rune = rune << 6 | (b[i] & 0x3f);
    }
    if (n == 0 || rune < least[n] || rune > 0x10ffff || (rune >= 0xd800 && rune < 0xe000))
        return 0;
    *ret = rune;
    return n;
}

/* Characters that move the cursor, or turn the direction of what follows. */
static bool is_control(uint32_t rune)
{
    return rune < ' ' || (rune >= 0x7f && rune < 0xa0) || (rune >= 0x200e && rune <= 0x200f) ||
           (rune >= 0x2028 && rune <= 0x202e) || (rune >= 0x2066 && rune <= 0x2069);
}

const char *text_escape(const char *text, char *to, size_t size)
{
    size_t length = 0;

    while (*text) {
        char part[16];
        uint32_t rune = 0;
        size_t n = text_rune(text, &rune);
        if (n == 0 || (is_control(rune) && rune < 0x80 && rune != '\n' && rune != '\t'))
            snprintf(part, sizeof part, "\\x%02x", (unsigned char)*text);
        else if (is_control(rune))
            snprintf(part, sizeof part, rune == '\n' ? "\\n" : rune == '\t' ? "\\t" : "\\u%04" PRIx32, rune);
        else
            snprintf(part, sizeof part, "%.*s", (int)n, text);
        if (length + strlen(part) >= size)
            break;
        memcpy(to + length, part, strlen(part));
        length += strlen(part);
        text += n ? n : 1;
    }
    to[length] = '\0';
    return to;
}

size_t text_width(const char *text)
{
    size_t width = 0;

    for (; *text; text++)
        width += ((unsigned char)*text & 0xc0) != 0x80;
    return width;
}

bool holder_parse(struct holder *holder, const char *owner)
{
    size_t machine = strcspn(owner, ":");
    const char *pid = owner + machine + 1;
    char *end = NULL;

    *holder = (struct holder){.pid = -1};
    if (owner[machine] && machine > 0 && machine <= DLOCK_MACHINE_MAX && *pid >= '1' && *pid <= '9') {
        int64_t number = strtoll(pid, &end, 10);
        if (*end == ':' && end[1]) {
            memcpy(holder->machine, owner, machine);
            holder->pid = number;
            owner = end + 1;
        }
    }
    snprintf(holder->mark, sizeof holder->mark, "%.*s", (int)(strlen(owner) / 2 < 8 ? strlen(owner) / 2 : 8), owner);
    return holder->pid >= 0;
}

const char *holder_show(const dlock_info *info, char to[HOLDER_TEXT_SIZE])
{
    struct holder holder;
    char held[DURATION_SIZE], since[DURATION_SIZE + 8] = "", mark[40];

    if (info->held_ms >= 0)
        snprintf(since, sizeof since, " for %s", duration_show(info->held_ms, held));
    if (holder_parse(&holder, info->owner))
        snprintf(to, HOLDER_TEXT_SIZE, "%s (pid %" PRId64 ")%s", holder.machine, holder.pid, since);
    else
        snprintf(to, HOLDER_TEXT_SIZE, "%s...%s", text_escape(holder.mark, mark, sizeof mark), since);
    return to;
}
