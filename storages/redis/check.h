/* check.h - what check.c judges without a server, so that it can be tested for servers that cannot be had. */
#ifndef DLOCK_REDIS_CHECK_H
#define DLOCK_REDIS_CHECK_H

#include <stddef.h>

enum server_age {
    SERVER_CURRENT,
    SERVER_OLD,     /* it works, but gets no repairs any more */
    SERVER_TOO_OLD, /* it lacks what lock.lua needs */
};

/* How old the server is that answers `info` to INFO; `version` is what it calls itself. */
enum server_age check_age(const char *info, char *version, size_t size);

#endif
