/* test_storages_module.c - modules with one fault each, for test_storages.c: FAULT says which. */
#include "dlock_storage.h"

#define FAULT_VERSION 1
#define FAULT_SCHEME  2 /* none of them serves its scheme, but the others have a worse fault */
#define FAULT_NULL    3
#define FAULT_SYMBOL  4

#if FAULT == FAULT_SYMBOL
#define dlock_module other_symbol
#endif

DLOCK_API dlock_module_function dlock_module;

static const dlock_storage storage = {
    .api = FAULT == FAULT_VERSION ? 99 : DLOCK_STORAGE_API,
    .name = "faulty",
    .schemes = (const char *const[]){"other", NULL},
};

const dlock_storage *dlock_module(void)
{
    return FAULT == FAULT_NULL ? NULL : &storage;
}
