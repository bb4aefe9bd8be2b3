/* postgresql_storage.h - the PostgreSQL storage, for module.c and for tests. */
#ifndef DLOCK_STORAGES_POSTGRESQL_STORAGE_H
#define DLOCK_STORAGES_POSTGRESQL_STORAGE_H

#include "dlock_storage.h"

extern const dlock_storage dlock_postgresql_storage;

#endif
