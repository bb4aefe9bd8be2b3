/* support.c - see support.h. */
#include "support.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>

void store_init(struct store *store)
{
    snprintf(store->folder, sizeof store->folder, "%.40s/dlock-test-XXXXXX",
             getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
    assert_non_null(mkdtemp(store->folder));
    snprintf(store->url, sizeof store->url, "sqlite:%s/locks.db", store->folder);
}

static int remove_entry(const char *path, const struct stat *status, int type, struct FTW *where)
{
    (void)status, (void)type, (void)where;
    return remove(path);
}

void store_deinit(struct store *store)
{
    nftw(store->folder, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}
