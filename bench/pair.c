/* pair.c - acquire and release on the embedded storage beside the same statements, prepared and run by hand, in turn:
 * what the library costs on top of SQLite. */
#include "bench.h"

#include <sqlite3.h>

#define ROUNDS 40
#define PAIRS  500

/* The statements of storages/sqlite/sqlite.c, on a file of the same layout and settings. */
enum { BEGIN, FIND, SET_FENCE, GRANT, DELETE, COMMIT, STATEMENTS };
static const char find_sql[] = "SELECT l.owner, l.fence, l.ttl_ms, l.acquired_at, l.expires_at, m.fence, m.marks"
                               " FROM meta m LEFT JOIN locks l ON l.key = ?1";
static const char *const sql[STATEMENTS] = {
    [BEGIN] = "BEGIN IMMEDIATE",
    [FIND] = find_sql,
    [SET_FENCE] = "UPDATE meta SET fence = ?1",
    [GRANT] = "REPLACE INTO locks (key, owner, fence, ttl_ms, acquired_at, expires_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    [DELETE] = "DELETE FROM locks WHERE key = ?1",
    [COMMIT] = "COMMIT",
};

static sqlite3 *db;
static sqlite3_stmt *statements[STATEMENTS];

static void check(int code)
{
    if (code == SQLITE_OK || code == SQLITE_DONE || code == SQLITE_ROW)
        return;
    fprintf(stderr, "SQLite: %s\n", sqlite3_errmsg(db));
    exit(1);
}

static void open_by_hand(const char *path)
{
    check(sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL));
    check(sqlite3_exec(db, "PRAGMA synchronous = NORMAL", NULL, NULL, NULL));
    sqlite3_wal_autocheckpoint(db, 200);
    for (int i = 0; i < STATEMENTS; i++)
        check(sqlite3_prepare_v2(db, sql[i], -1, &statements[i], NULL));
}

static void step(int which)
{
    check(sqlite3_step(statements[which]));
    sqlite3_reset(statements[which]);
}

static sqlite3_int64 find(const char *key)
{
    sqlite3_bind_text(statements[FIND], 1, key, -1, SQLITE_STATIC);
    check(sqlite3_step(statements[FIND]));
    const sqlite3_int64 fence = sqlite3_column_int64(statements[FIND], 5);
    sqlite3_reset(statements[FIND]);
    return fence;
}

static void pair_by_hand(const char *key)
{
    step(BEGIN);
    const sqlite3_int64 fence = find(key) + 1, now = (sqlite3_int64)bench_now();
    sqlite3_bind_int64(statements[SET_FENCE], 1, fence);
    step(SET_FENCE);
    sqlite3_bind_text(statements[GRANT], 1, key, -1, SQLITE_STATIC);
    sqlite3_bind_text(statements[GRANT], 2, "machine:12345:0123456789abcdef0123456789abcdef", -1, SQLITE_STATIC);
    sqlite3_bind_int64(statements[GRANT], 3, fence);
    sqlite3_bind_int64(statements[GRANT], 4, 10000);
    sqlite3_bind_int64(statements[GRANT], 5, now);
    sqlite3_bind_int64(statements[GRANT], 6, now + 10000000);
    step(GRANT);
    step(COMMIT);

    step(BEGIN);
    find(key);
    sqlite3_bind_text(statements[DELETE], 1, key, -1, SQLITE_STATIC);
    step(DELETE);
    step(COMMIT);
}

static void pair_by_us(dlock *lock)
{
    dlock_error error;
    bench_check(dlock_acquire(lock, NULL, &error), &error);
    bench_check(dlock_release(lock, &error), &error);
}

int main(void)
{
    struct bench_store ours, theirs;
    bench_make_store(&ours);
    bench_make_store(&theirs);
    dlock_error error;
    dlock_factory *factory;
    dlock *lock, *maker;
    bench_check(dlock_factory_open(theirs.url, NULL, &factory, &error), &error);
    bench_check(dlock_create(factory, "makes the file", &maker, &error), &error);
    pair_by_us(maker);
    dlock_free(maker);
    dlock_factory_close(factory);
    bench_check(dlock_factory_open(ours.url, NULL, &factory, &error), &error);
    bench_check(dlock_create(factory, "bench", &lock, &error), &error);
    open_by_hand(theirs.path);

    double a[ROUNDS], b[ROUNDS], ratios[ROUNDS];
    for (int round = 0; round < ROUNDS; round++) {
        const double begin = bench_now();
        for (int i = 0; i < PAIRS; i++)
            pair_by_us(lock);
        const double between = bench_now();
        for (int i = 0; i < PAIRS; i++)
            pair_by_hand("bench");
        a[round] = (between - begin) / PAIRS;
        b[round] = (bench_now() - between) / PAIRS;
        ratios[round] = a[round] / b[round];
    }
    printf("pair: acquire+release: median %.1f us; the same statements by hand: %.1f us; ratio %.2f (goal: at most "
           "1.15)\n",
           bench_quantile(a, ROUNDS, 0.5), bench_quantile(b, ROUNDS, 0.5), bench_quantile(ratios, ROUNDS, 0.5));

    for (int i = 0; i < STATEMENTS; i++)
        sqlite3_finalize(statements[i]);
    sqlite3_close(db);
    dlock_free(lock);
    dlock_factory_close(factory);
    bench_remove_store(&ours);
    bench_remove_store(&theirs);
    return 0;
}
