/* redis_storage.h - what both modules make their dlock_storage of: the schemes and parameters are their own. */
#ifndef DLOCK_REDIS_STORAGE_H
#define DLOCK_REDIS_STORAGE_H

#include "session.h"

dlock_status redis_open(void *memory, const dlock_url *url, const dlock_storage_options *options, dlock_error *error);
void redis_close(void *memory);

#define REDIS_STORAGE(its_schemes, its_parameters)                                                                     \
    {                                                                                                                  \
        .api = DLOCK_STORAGE_API, .name = "redis", .schemes = its_schemes, .parameters = its_parameters,               \
        .capabilities = DLOCK_STORAGE_FENCES | DLOCK_STORAGE_SEVERAL_URLS, .max_sessions = 4,                          \
        .session_size = sizeof(struct redis_session), .open = redis_open, .close = redis_close,                        \
        .execute = round_execute, .begin = round_begin, .proceed = round_proceed, .begun_fd = round_descriptor,        \
        .list = list_keys, .check = check_nodes, .watch_fd = redis_watch_fd, .watch = redis_watch,                     \
        .unwatch = redis_unwatch, .watch_read = redis_watch_read                                                       \
    }

DLOCK_API dlock_module_function dlock_module;

#endif
