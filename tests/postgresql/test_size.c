/* test_size.c - the table of the PostgreSQL storage stays small: a key that is taken often, keys that are taken once.
 */
#include "fixture.h"

static struct server server;
static PGconn *superuser;

static long number(const char *text)
{
    return strtol(text, NULL, 10);
}

static void a_hot_key_stays_small(void **state)
{
    (void)state;
    enum { BATCH = 256 };
    sql(superuser, "CREATE EXTENSION IF NOT EXISTS pgstattuple");
    void *session = open_session("%s?table=hot", server.url);
    static dlock_request batch[BATCH];
    dlock_request *requests[BATCH];
    for (unsigned taken = 0; taken < TAKES; taken += BATCH / 2) {
        for (unsigned i = 0; i < BATCH; i++) {
            batch[i] = request_of(i % 2 ? DLOCK_RELEASE : DLOCK_ACQUIRE, "key", "owner", LONG_MS);
            requests[i] = &batch[i];
        }
        dlock_postgresql_storage.execute(session, requests, BATCH);
        for (unsigned i = 0; i < BATCH; i++)
            assert_status(batch[i], DLOCK_OK);
    }
    const long heap = number(sql(superuser, "SELECT pg_relation_size('hot')")),
               all = number(sql(superuser, "SELECT pg_total_relation_size('hot')")),
               dead = number(sql(superuser, "SELECT dead_tuple_count FROM pgstattuple('hot')"));
    printf("# after %d takes: %ld bytes of rows, %ld with all that belongs to the table, %ld dead rows\n", TAKES, heap,
           all, dead);
    assert_true(heap <= 4 * 8192);
    assert_true(all <= 20 * 8192);
    assert_true(dead < 200);
    close_session(session);
}

static void rows_that_nobody_uses_any_more_go(void **state)
{
    (void)state;
    enum { KEYS = 2000 };
    void *session = open_session("%s?table=swept", server.url);
    char key[32];
    for (unsigned i = 0; i < KEYS; i++) {
        snprintf(key, sizeof key, "key %u", i);
        acquire(session, key, "owner", i % 2 ? 10 : LONG_MS);
        if (i % 2 == 0)
            assert_status(ask(session, DLOCK_RELEASE, key, "owner", 0), DLOCK_OK);
    }
    acquire(session, "held", "owner", LONG_MS);
    assert_true(number(sql(superuser, "SELECT count(*) FROM swept")) > KEYS / 2); /* not before its time */
    sql(superuser, "UPDATE swept SET expires_at = expires_at - interval '2 min' WHERE key <> 'held'");
    const int64_t since = dlock_clock_us();
    while (number(sql(superuser, "SELECT count(*) FROM swept")) > 100) {
        assert_true(dlock_clock_us() - since < INT64_C(60000000));
        for (unsigned i = 0; i < 64; i++)
            ask(session, DLOCK_ACQUIRE, "held", "other", LONG_MS);
    }
    assert_holder(session, "held", "owner");
    close_session(session);
}

int main(void)
{
    server_start_or_skip(&server, "postgresql");
    superuser = connect_as_superuser(&server, 0);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_hot_key_stays_small),
        cmocka_unit_test(rows_that_nobody_uses_any_more_go),
    };
    const int failed = cmocka_run_group_tests_name("postgresql-size", tests, NULL, NULL);
    PQfinish(superuser);
    server_stop(&server);
    return failed;
}
