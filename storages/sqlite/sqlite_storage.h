/* sqlite_storage.h - the embedded storage, for the list in src/storages.c. */
#ifndef DLOCK_STORAGES_SQLITE_STORAGE_H
#define DLOCK_STORAGES_SQLITE_STORAGE_H

#include "dlock_storage.h"

extern const dlock_storage dlock_sqlite_storage;

#endif
