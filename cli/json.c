/* json.c - writes one JSON object, or a part of one, into a buffer.
 *
 * Used wherever --json prints. Whoever prints does it with one write, so that lines of several processes stay whole. */
#include "json.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "text.h"

static void put(struct json *j, const char *format, ...) DLOCK_PRINTF(2, 3);
static void put(struct json *j, const char *format, ...)
{
    va_list arguments;
    size_t room = JSON_SIZE - j->length;

    va_start(arguments, format);
    int n = vsnprintf(j->text + j->length, room, format, arguments);
    va_end(arguments);
    if (n > 0)
        j->length += (size_t)n < room ? (size_t)n : room - 1;
}

static void name(struct json *j, const char *text)
{
    put(j, "%s", j->comma ? "," : "");
    if (text)
        put(j, "\"%s\":", text);
    j->comma = true;
}

void json_begin(struct json *j)
{
    j->length = 0;
    j->comma = false;
    put(j, "{");
}

void json_end(struct json *j)
{
    put(j, "}");
    j->comma = true;
}

void json_object(struct json *j, const char *text)
{
    name(j, text);
    put(j, "{");
    j->comma = false;
}

void json_object_end(struct json *j)
{
    json_end(j);
}

void json_array(struct json *j, const char *text)
{
    name(j, text);
    put(j, "[");
    j->comma = false;
}

void json_array_end(struct json *j)
{
    put(j, "]");
    j->comma = true;
}

void json_text(struct json *j, const char *member, const char *value)
{
    name(j, member);
    put(j, "\"");
    while (*value) {
        uint32_t rune;
        size_t n = text_rune(value, &rune);
        if (n == 0)
            put(j, "\\ufffd");
        else if (rune < ' ' || (rune >= 0x7f && rune < 0xa0))
            put(j, "\\u%04" PRIx32, rune);
        else
            put(j, "%s%.*s", rune == '"' || rune == '\\' ? "\\" : "", (int)n, value);
        value += n ? n : 1;
    }
    put(j, "\"");
}

void json_integer(struct json *j, const char *member, int64_t value)
{
    name(j, member);
    put(j, "%" PRId64, value);
}

static void null(struct json *j, const char *member)
{
    name(j, member);
    put(j, "null");
}

void json_number(struct json *j, const char *member, double value)
{
    if (value >= 0) {
        name(j, member);
        put(j, "%.3f", value);
    } else {
        null(j, member);
    }
}

void json_milliseconds(struct json *j, const char *member, int64_t value)
{
    if (value >= 0)
        json_integer(j, member, value);
    else
        null(j, member);
}

void json_fence(struct json *j, uint64_t fence)
{
    name(j, "fence");
    put(j, "%" PRIu64, fence);
}

void json_flag(struct json *j, const char *member, bool value)
{
    name(j, member);
    put(j, value ? "true" : "false");
}

void json_info(struct json *j, const dlock_info *info)
{
    struct holder holder;

    json_text(j, "owner", info->owner);
    if (holder_parse(&holder, info->owner)) {
        json_text(j, "machine", holder.machine);
        json_integer(j, "pid", holder.pid);
    }
    json_fence(j, info->fence);
    json_milliseconds(j, "ttl_ms", info->ttl_ms ? (int64_t)info->ttl_ms : -1);
    json_milliseconds(j, "held_ms", info->held_ms);
    json_milliseconds(j, "remaining_ms", info->remaining_ms);
}
