/* postgresql.c - the PostgreSQL storage beside the same statements, prepared and sent through libpq alone, in turn on
 * one server: one thread, 64 threads, isolations, refused attempts, hand-over. Usage: postgresql URL, of a server that
 * does nothing else. */
#include "bench.h"

#include "../storages/postgresql/internal.h"

#include <pthread.h>
#include <stdint.h>
#include <sys/wait.h>

#define ROUNDS  20
#define PAIRS   200
#define THREADS 64
#define SECONDS 2
#define REFUSED 5000
#define HANDED  300
#define IDLE_US 20000

static const char *url;
static struct postgresql_session statements; /* for its texts only */

static void fail(PGconn *connection)
{
    fprintf(stderr, "libpq: %s", PQerrorMessage(connection));
    exit(1);
}

/* ---- libpq alone */

static PGconn *connect_plainly(void)
{
    PGconn *connection = PQconnectdb(url);
    if (PQstatus(connection) != CONNECTION_OK)
        fail(connection);
    return connection;
}

static char *ask_plainly(PGconn *connection, const char *sql)
{
    PGresult *result = PQexec(connection, sql);
    if (PQresultStatus(result) != PGRES_TUPLES_OK)
        fail(connection);
    char *text = strdup(PQntuples(result) ? PQgetvalue(result, 0, 0) : "");
    PQclear(result);
    return text;
}

static void prepare_plainly(PGconn *connection)
{
    struct parameters parameters;
    parameters_make(&parameters, &(struct arguments){0}, 1);
    for (int i = STATEMENT_ACQUIRE; i <= STATEMENT_BREAK; i++) {
        char name[8];
        snprintf(name, sizeof name, "s%d", i);
        PGresult *result = PQprepare(connection, name, statements.sql[i], PARAMETERS, parameters.types);
        if (PQresultStatus(result) != PGRES_COMMAND_OK)
            fail(connection);
        PQclear(result);
    }
}

static int run_plainly(PGconn *connection, enum statement which, const char *key, const char *owner)
{
    struct parameters with;
    char name[8];
    snprintf(name, sizeof name, "s%d", (int)which);
    parameters_make(&with, &(struct arguments){key, owner, 10000, which == STATEMENT_RELEASE}, 1);
    PGresult *result = PQexecPrepared(connection, name, PARAMETERS, with.values, with.lengths, with.formats, 1);
    if (PQresultStatus(result) != PGRES_TUPLES_OK)
        fail(connection);
    const int rows = PQntuples(result);
    PQclear(result);
    return rows;
}

static void pair_plainly(PGconn *connection, const char *key)
{
    static const char owner[] = "machine:12345:0123456789abcdef0123456789abcdef";
    run_plainly(connection, STATEMENT_ACQUIRE, key, owner);
    if (run_plainly(connection, STATEMENT_RELEASE, key, owner) != 1) {
        fprintf(stderr, "%s was not held\n", key);
        exit(1);
    }
}

static void pair_by_us(dlock *lock)
{
    dlock_error error;
    bench_check(dlock_acquire(lock, NULL, &error), &error);
    bench_check(dlock_release(lock, &error), &error);
}

static dlock_factory *open_factory(void)
{
    dlock_error error;
    dlock_factory *factory;
    bench_check(dlock_factory_open(url, NULL, &factory, &error), &error);
    return factory;
}

static dlock *make_lock(dlock_factory *factory, const char *key)
{
    dlock_error error;
    dlock *lock;
    bench_check(dlock_create(factory, key, &lock, &error), &error);
    return lock;
}

/* ---- one thread */

static void measure_pairs(PGconn *connection)
{
    dlock_factory *factory = open_factory();
    dlock *lock = make_lock(factory, "one");
    double a[ROUNDS], b[ROUNDS], ratios[ROUNDS];
    pair_by_us(lock);
    pair_plainly(connection, "bench:one");
    for (int round = 0; round < ROUNDS; round++) {
        const double begin = bench_now();
        for (int i = 0; i < PAIRS; i++)
            pair_by_us(lock);
        const double between = bench_now();
        for (int i = 0; i < PAIRS; i++)
            pair_plainly(connection, "bench:one");
        a[round] = (between - begin) / PAIRS;
        b[round] = (bench_now() - between) / PAIRS;
        ratios[round] = a[round] / b[round];
    }
    printf(
        "postgresql: acquire+release, one thread: median %.0f us; the same statements by libpq alone: %.0f us; ratio "
        "%.2f (goal: at most 1.10)\n",
        bench_quantile(a, ROUNDS, 0.5), bench_quantile(b, ROUNDS, 0.5), bench_quantile(ratios, ROUNDS, 0.5));
    dlock_free(lock);
    dlock_factory_close(factory);
}

/* ---- many threads */

static dlock_factory *shared;
static const char *contended_url;
static pthread_barrier_t start;
static double end_at;

struct worker {
    pthread_t thread;
    int number;
    long pairs;
};

static void *work_by_us(void *arg)
{
    struct worker *worker = arg;
    char key[32];
    snprintf(key, sizeof key, "many/%d", worker->number);
    dlock *lock = make_lock(shared, key);
    pthread_barrier_wait(&start);
    for (; bench_now() < end_at; worker->pairs++)
        pair_by_us(lock);
    dlock_free(lock);
    return NULL;
}

static void *work_plainly(void *arg)
{
    struct worker *worker = arg;
    char key[32];
    snprintf(key, sizeof key, "bench:plain/%d", worker->number);
    PGconn *connection = connect_plainly();
    prepare_plainly(connection);
    pthread_barrier_wait(&start);
    for (; bench_now() < end_at; worker->pairs++)
        pair_plainly(connection, key);
    PQfinish(connection);
    return NULL;
}

static double pairs_per_second(void *(*work)(void *), int threads)
{
    static struct worker workers[THREADS];
    long pairs = 0;
    pthread_barrier_init(&start, NULL, (unsigned)threads + 1);
    end_at = 1e300;
    for (int i = 0; i < threads; i++) {
        workers[i] = (struct worker){.number = i};
        pthread_create(&workers[i].thread, NULL, work, &workers[i]);
    }
    const double begin = bench_now();
    end_at = begin + 1e6 * SECONDS + 1e6; /* the threads connect first */
    pthread_barrier_wait(&start);
    const double began = bench_now();
    end_at = began + 1e6 * SECONDS;
    for (int i = 0; i < threads; i++) {
        pthread_join(workers[i].thread, NULL);
        pairs += workers[i].pairs;
    }
    pthread_barrier_destroy(&start);
    return (double)pairs / (bench_now() - began) * 1e6;
}

static void measure_threads(int threads)
{
    enum { TURNS = 5 };
    double a[TURNS], b[TURNS], ratios[TURNS];
    shared = open_factory();
    for (int i = 0; i < TURNS; i++) {
        a[i] = pairs_per_second(work_by_us, threads);
        b[i] = pairs_per_second(work_plainly, threads);
        ratios[i] = a[i] / b[i];
    }
    dlock_factory_close(shared);
    printf("postgresql: %d threads on one factory: median %.0f pairs/s; a connection per thread by libpq alone: %.0f "
           "pairs/s; ratio %.2f%s\n",
           threads, bench_quantile(a, TURNS, 0.5), bench_quantile(b, TURNS, 0.5), bench_quantile(ratios, TURNS, 0.5),
           threads == THREADS ? " (goal: at least 1.3)" : "");
}

/* ---- isolations */

/* A program that wants the one key again and again. */
static void *contend(void *arg)
{
    struct worker *worker = arg;
    dlock_error error;
    dlock_factory *factory;
    bench_check(dlock_factory_open(contended_url, NULL, &factory, &error), &error);
    dlock *lock = make_lock(factory, "contended");
    dlock_acquire_options options = DLOCK_ACQUIRE_OPTIONS_INIT;
    options.wait_ms = DLOCK_WAIT_FOREVER;
    pthread_barrier_wait(&start);
    for (; bench_now() < end_at; worker->pairs++) {
        bench_check(dlock_acquire(lock, &options, &error), &error);
        bench_check(dlock_release(lock, &error), &error);
    }
    dlock_free(lock);
    dlock_factory_close(factory);
    return NULL;
}

static double roll_backs(PGconn *connection)
{
    usleep(1500000); /* servers count with a delay */
    char *text =
        ask_plainly(connection, "SELECT xact_rollback FROM pg_stat_database WHERE datname = current_database()");
    const double value = atof(text);
    free(text);
    return value;
}

static void measure_isolation(PGconn *connection, const char *isolation)
{
    enum { PROGRAMS = 8 };
    static char text[512];
    snprintf(text, sizeof text, "%s%cisolation=%s", url, strchr(url, '?') ? '&' : '?', isolation);
    contended_url = text;
    dlock_error error;
    dlock_factory *factory;
    bench_check(dlock_factory_open(text, NULL, &factory, &error), &error);
    dlock *lock = make_lock(factory, "alone");
    double took[ROUNDS];
    for (int round = 0; round < ROUNDS; round++) {
        const double begin = bench_now();
        for (int i = 0; i < PAIRS; i++)
            pair_by_us(lock);
        took[round] = (bench_now() - begin) / PAIRS;
    }
    dlock_free(lock);
    dlock_factory_close(factory);
    const double before = roll_backs(connection), holds = pairs_per_second(contend, PROGRAMS),
                 rolled_back = roll_backs(connection) - before;
    printf(
        "postgresql: %s: acquire+release, alone: median %.0f us; one key, %d programs that wait for it: %.0f holds/s, "
        "%.2f transactions rolled back for each\n",
        isolation, bench_quantile(took, ROUNDS, 0.5), PROGRAMS, holds, rolled_back / (holds * SECONDS));
}

/* ---- refused attempts */

static double wal_position(PGconn *connection)
{
    char *text = ask_plainly(connection, "SELECT pg_current_wal_insert_lsn() - '0/0'");
    const double value = atof(text);
    free(text);
    return value;
}

static void measure_refused(PGconn *connection)
{
    dlock_factory *holders = open_factory(), *others = open_factory();
    dlock *held = make_lock(holders, "refused"), *refused = make_lock(others, "refused");
    dlock_acquire_options options = DLOCK_ACQUIRE_OPTIONS_INIT;
    dlock_error error;
    options.ttl_ms = 600000;
    bench_check(dlock_acquire(held, &options, &error), &error);
    options.retries = 1;
    dlock_acquire(refused, &options, &error);
    const double before = wal_position(connection), begin = bench_now();
    for (int i = 0; i < REFUSED; i++)
        if (dlock_acquire(refused, &options, &error) != DLOCK_BUSY)
            exit(1);
    const double took = (bench_now() - begin) / REFUSED, bytes = wal_position(connection) - before;
    printf(
        "postgresql: a refused attempt: %.0f us, %.2f bytes of WAL each (goal: 0; the server's own notes are in it)\n",
        took, bytes / REFUSED);
    dlock_free(refused);
    dlock_free(held);
    dlock_factory_close(others);
    dlock_factory_close(holders);
}

/* ---- hand-over */

static void put(int pipe, double value)
{
    if (write(pipe, &value, sizeof value) != sizeof value)
        exit(1);
}

static double get(int pipe)
{
    double value;
    if (read(pipe, &value, sizeof value) != sizeof value)
        exit(1);
    return value;
}

static void wait_each_time(int orders, int reports)
{
    dlock_error error;
    dlock_factory *factory = open_factory();
    dlock *lock = make_lock(factory, "handover");
    dlock_acquire_options options = DLOCK_ACQUIRE_OPTIONS_INIT;
    options.wait_ms = DLOCK_WAIT_FOREVER;
    for (int i = 0; i < HANDED; i++) {
        get(orders);
        bench_check(dlock_acquire(lock, &options, &error), &error);
        put(reports, bench_now());
        bench_check(dlock_release(lock, &error), &error);
        put(reports, 0);
    }
    dlock_free(lock);
    dlock_factory_close(factory);
}

/* The median of a round trip that nobody else takes part in, in the same rhythm: acquire and release in turn. */
static double median_of_statements(PGconn *connection)
{
    double took[HANDED];
    for (int i = 0; i < HANDED; i++) {
        usleep(IDLE_US);
        const double begin = bench_now();
        run_plainly(connection, i % 2 ? STATEMENT_RELEASE : STATEMENT_ACQUIRE, "bench:round trip", "owner");
        took[i] = bench_now() - begin;
    }
    return bench_quantile(took, HANDED, 0.5);
}

static void measure_handover(PGconn *connection)
{
    int orders[2], reports[2];
    if (pipe(orders) != 0 || pipe(reports) != 0)
        exit(1);
    fflush(NULL);
    const pid_t waiter = fork();
    if (waiter == 0) {
        wait_each_time(orders[0], reports[1]);
        exit(0);
    }
    dlock_error error;
    dlock_factory *factory = open_factory();
    dlock *lock = make_lock(factory, "handover");
    double took[HANDED];
    for (int i = 0; i < HANDED; i++) {
        bench_check(dlock_acquire(lock, NULL, &error), &error);
        put(orders[1], 0);
        usleep(IDLE_US); /* long enough for the waiter to be asleep */
        const double released = bench_now();
        bench_check(dlock_release(lock, &error), &error);
        took[i] = get(reports[0]) - released;
        get(reports[0]);
    }
    waitpid(waiter, NULL, 0);
    const double median = bench_quantile(took, HANDED, 0.5), one = median_of_statements(connection);
    printf(
        "postgresql: release to grant in another process: median %.0f us, 99%% %.0f us; one statement by libpq alone: "
        "%.0f us; %.2f round trips (goal: at most 3)\n",
        median, bench_quantile(took, HANDED, 0.99), one, median / one);
    dlock_free(lock);
    dlock_factory_close(factory);
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: postgresql URL\n");
        return 64;
    }
    url = argv[1];
    dlock_factory *factory = open_factory();
    dlock *lock = make_lock(factory, "makes the table");
    pair_by_us(lock);
    dlock_free(lock);
    PGconn *connection = connect_plainly();
    char *sequence = ask_plainly(connection, "SELECT quote_literal(pg_get_serial_sequence('locks', 'fence'))");
    const struct names names = {"locks", sequence, "'locks'::regclass", "pg_postmaster_start_time()"};
    if (!statements_make(&statements, &names))
        exit(1);
    free(sequence);
    prepare_plainly(connection);
    measure_pairs(connection);
    measure_threads(8);
    measure_threads(THREADS);
    measure_isolation(connection, "read-committed");
    measure_isolation(connection, "repeatable-read");
    measure_refused(connection);
    measure_handover(connection);
    statements_free(&statements);
    PQfinish(connection);
    dlock_factory_close(factory);
    return 0;
}
