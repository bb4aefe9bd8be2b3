/* module.c - what makes the PostgreSQL storage a module, postgresql.so, that the core loads for its URLs. */
#include "postgresql_storage.h"

/* The one symbol that the library looks for in a module. */
DLOCK_API dlock_module_function dlock_module;

const dlock_storage *dlock_module(void)
{
    return &dlock_postgresql_storage;
}
