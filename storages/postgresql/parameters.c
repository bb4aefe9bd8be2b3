/* parameters.c - arguments as they travel: of one request as they are, of several as an array of each kind.
 *
 * Called by statements.c. Numbers and arrays have PostgreSQL's own binary form, that of its int8send and array_send. */
#include "internal.h"

#include <endian.h>
#include <stdlib.h>
#include <string.h>

/* As pg_type numbers them. */
enum { BOOLEAN = 16, BIGINT = 20, TEXT = 25, TEXTS = 1009, BIGINTS = 1016 };

enum { HEAD_SIZE = 20, LENGTH_SIZE = 4 }; /* of an array, and in front of each element */

static void set(struct parameters *parameters, int which, Oid type, const char *value, size_t length, bool binary)
{
    parameters->types[which] = type;
    parameters->values[which] = value;
    parameters->lengths[which] = (int)length;
    parameters->formats[which] = binary;
}

static void set_lazy(struct parameters *parameters, bool lazy)
{
    set(parameters, PARAMETER_LAZY, BOOLEAN, lazy ? "\1" : "\0", 1, true);
}

static void set_one(struct parameters *parameters, const struct arguments *arguments)
{
    const uint64_t ttl_ms = htobe64(arguments->ttl_ms);
    memcpy(parameters->ttl_ms, &ttl_ms, sizeof ttl_ms);
    parameters->channel[0] = '\0';
    if (arguments->key)
        statements_channel(arguments->key, parameters->channel);
    set(parameters, PARAMETER_KEY, TEXT, arguments->key, 0, false);
    set(parameters, PARAMETER_OWNER, TEXT, arguments->owner, 0, false);
    set(parameters, PARAMETER_TTL, BIGINT, parameters->ttl_ms, sizeof ttl_ms, true);
    set(parameters, PARAMETER_CHANNEL, TEXT, parameters->channel, 0, false);
}

/* ---- arrays: each put_ writes at `end`, and returns where it ends then */

static char *put_number(char *end, uint32_t number)
{
    number = htobe32(number);
    memcpy(end, &number, sizeof number);
    return end + sizeof number;
}

static char *put_head(char *end, Oid element, size_t count)
{
    const uint32_t head[] = {1, 0, element, (uint32_t)count, 1}; /* dimensions, any NULL, number of the first */
    for (size_t i = 0; i < sizeof head / sizeof head[0]; i++)
        end = put_number(end, head[i]);
    return end;
}

static char *put_element(char *end, const void *bytes, size_t length)
{
    end = put_number(end, (uint32_t)length);
    memcpy(end, bytes, length);
    return end + length;
}

static char *put_argument(char *end, int which, const struct arguments *arguments)
{
    const uint64_t ttl_ms = htobe64(arguments->ttl_ms);
    char channel[CHANNEL_SIZE];
    switch (which) {
    case PARAMETER_TTL:
        return put_element(end, &ttl_ms, sizeof ttl_ms);
    case PARAMETER_KEY:
        return put_element(end, arguments->key, strlen(arguments->key));
    case PARAMETER_OWNER:
        return put_element(end, arguments->owner, strlen(arguments->owner));
    default:
        statements_channel(arguments->key, channel);
        return put_element(end, channel, strlen(channel));
    }
}

static size_t size_of_arrays(const struct arguments *arguments, size_t count)
{
    size_t size = (size_t)HEAD_SIZE * PARAMETER_LAZY;
    for (size_t i = 0; i < count; i++)
        size += (size_t)LENGTH_SIZE * PARAMETER_LAZY + strlen(arguments[i].key) + strlen(arguments[i].owner) +
                sizeof(uint64_t) + CHANNEL_SIZE;
    return size;
}

static void set_many(struct parameters *parameters, const struct arguments *arguments, size_t count)
{
    char *end = parameters->memory;
    for (int which = 0; which < PARAMETER_LAZY; which++) {
        const bool numbers = which == PARAMETER_TTL;
        char *begin = end;
        end = put_head(end, numbers ? BIGINT : TEXT, count);
        for (size_t i = 0; i < count; i++)
            end = put_argument(end, which, &arguments[i]);
        set(parameters, which, numbers ? BIGINTS : TEXTS, begin, (size_t)(end - begin), true);
    }
}

bool parameters_make(struct parameters *ret, const struct arguments *arguments, size_t count)
{
    ret->memory = count > 1 ? malloc(size_of_arrays(arguments, count)) : NULL;
    if (count > 1 && !ret->memory)
        return false;
    if (count > 1)
        set_many(ret, arguments, count);
    else
        set_one(ret, arguments);
    set_lazy(ret, arguments->lazy);
    return true;
}

void parameters_free(struct parameters *parameters)
{
    free(parameters->memory);
}
