/* module_tls.c - the module rediss.so: Redis with TLS; and without, for a quorum that has both. */
#include "redis_storage.h"

static const dlock_storage storage =
    REDIS_STORAGE(((const char *const[]){"rediss", "redis", "redis+unix", NULL}),
                  ((const char *const[]){SETTINGS_PARAMETERS, SETTINGS_TLS_PARAMETERS, NULL}));

const dlock_storage *dlock_module(void)
{
    return &storage;
}
