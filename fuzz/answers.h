/* answers.h - what the fuzz targets of storages ask one, and what must be true of every error of it. */
#ifndef DLOCK_FUZZ_ANSWERS_H
#define DLOCK_FUZZ_ANSWERS_H

#include "dlock_storage.h"
#include "require.h"

#include <string.h>

/* An array that text must end in. */
#define REQUIRE_TEXT(text) REQUIRE(memchr(text, '\0', sizeof(text)))

static inline void require_error(dlock_status status, const dlock_error *error)
{
    REQUIRE(status == DLOCK_OK || status == DLOCK_UNAVAILABLE || status == DLOCK_REFUSED);
    if (status != DLOCK_OK) {
        REQUIRE(error->status == status);
        REQUIRE(error->message[0]);
        REQUIRE_TEXT(error->message);
    }
}

/* One request for each key, of one operation after the other. */
static inline void make_requests(dlock_request *requests, dlock_request **pointers, const char *const *keys,
                                 size_t count)
{
    for (size_t i = 0; i < count; i++) {
        requests[i] = (dlock_request){.operation = (dlock_operation)(i % (DLOCK_BREAK + 1)),
                                      .ttl_ms = 1000,
                                      .key = keys[i],
                                      .owner = "owner:1:2",
                                      .status = DLOCK_UNAVAILABLE};
        pointers[i] = &requests[i];
    }
}

#endif
