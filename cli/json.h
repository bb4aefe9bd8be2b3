/* json.h - writes one JSON object, or a part of one, into a buffer.
 *
 * Used wherever --json prints. Bytes that are not UTF-8 become U+FFFD, so that what is printed is always JSON. */
#ifndef DLOCK_CLI_JSON_H
#define DLOCK_CLI_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "dlock.h"

/* Holds any key, message and owner with every byte escaped, and the names besides. */
#define JSON_SIZE 16384

struct json {
    size_t length;
    bool comma; /* something stands before the next member */
    char text[JSON_SIZE];
};

void json_begin(struct json *j);                    /* { */
void json_end(struct json *j);                      /* } and the end of the string */
void json_object(struct json *j, const char *name); /* "name":{ ... up to json_object_end */
void json_object_end(struct json *j);
void json_array(struct json *j, const char *name); /* "name":[ ... its members have the name NULL */
void json_array_end(struct json *j);
void json_text(struct json *j, const char *name, const char *value);
void json_integer(struct json *j, const char *name, int64_t value);
void json_number(struct json *j, const char *name, double value);        /* a negative one, not known, is null */
void json_milliseconds(struct json *j, const char *name, int64_t value); /* a negative one, not known, is null */
void json_fence(struct json *j, uint64_t fence);
void json_flag(struct json *j, const char *name, bool value);

/* The members of a hold: owner and its parts, fence, times. */
void json_info(struct json *j, const dlock_info *info);

#endif
