/* error.c - statuses as text, and filling the structs that failures are reported in.
 *
 * Called by everything; part of dlock.h and dlock_storage.h. */
#include "dlock_storage.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const char *dlock_status_name(dlock_status status)
{
    switch (status) {
#define NAME(name, number, text)                                                                                       \
    case DLOCK_##name:                                                                                                 \
        return #name;
        DLOCK_STATUS_MAP(NAME)
#undef NAME
    }
    return "UNKNOWN";
}

const char *dlock_status_text(dlock_status status)
{
    switch (status) {
#define TEXT(name, number, text)                                                                                       \
    case DLOCK_##name:                                                                                                 \
        return text;
        DLOCK_STATUS_MAP(TEXT)
#undef TEXT
    }
    return "a status that this version does not know";
}

const char *dlock_version(void)
{
    return DLOCK_VERSION;
}

/* Removes a character that the end of `text` cuts in two, so that a shortened message is still UTF-8. */
static void drop_cut_character(char *text)
{
    size_t end = strlen(text), tail = 0;
    while (tail < 3 && tail < end && ((unsigned char)text[end - 1 - tail] & 0xC0) == 0x80)
        tail++;
    if (tail == end)
        return;
    const unsigned char lead = (unsigned char)text[end - 1 - tail];
    const size_t wanted = lead >= 0xF0 ? 3 : lead >= 0xE0 ? 2 : lead >= 0xC0 ? 1 : 0;
    if (tail < wanted)
        text[end - 1 - tail] = '\0';
}

/* Formats aside and copies then, because an argument may be the old message. */
static void format_message(char message[DLOCK_MESSAGE_SIZE], const char *format, va_list arguments) DLOCK_PRINTF(2, 0);
static void format_message(char message[DLOCK_MESSAGE_SIZE], const char *format, va_list arguments)
{
    char text[DLOCK_MESSAGE_SIZE] = "";
    if (vsnprintf(text, sizeof text, format, arguments) >= (int)sizeof text)
        drop_cut_character(text);
    memcpy(message, text, sizeof text);
}

dlock_status dlock_error_set(dlock_error *error, dlock_status status, const char *format, ...)
{
    if (!error)
        return status;
    va_list arguments;
    va_start(arguments, format);
    format_message(error->message, format, arguments);
    va_end(arguments);
    error->status = status;
    error->holder = (dlock_info){0};
    return status;
}

dlock_status dlock_request_fail(dlock_request *request, dlock_status status, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    format_message(request->message, format, arguments);
    va_end(arguments);
    request->status = status;
    return status;
}
