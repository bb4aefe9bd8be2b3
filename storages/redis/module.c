/* module.c - the module redis.so: Redis without TLS. */
#include "redis_storage.h"

const struct tls_functions *const stream_tls = NULL;

static const dlock_storage storage = REDIS_STORAGE(((const char *const[]){"redis", "redis+unix", NULL}),
                                                   ((const char *const[]){SETTINGS_PARAMETERS, NULL}));

const dlock_storage *dlock_module(void)
{
    return &storage;
}
