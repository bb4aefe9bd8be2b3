/* test_oom.c - the whole life of locks with the Nth allocation failing, for every N: nothing crashes, nothing leaks,
 * and every call that could not do its work says NOMEM.
 *
 * It takes the place of malloc for the whole program, SQLite included, so it is not built with sanitizers. */
#include "dlock.h"
#include "support.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* NOLINTBEGIN(bugprone-reserved-identifier, cert-dcl37-c): glibc's own names */
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *memory, size_t size);
void __libc_free(void *memory);
/* NOLINTEND(bugprone-reserved-identifier, cert-dcl37-c) */

static long countdown; /* 0 = no allocation fails; 1 = the next one does */

/* The blocks that are allocated now: a set of addresses. Blocks that the C library allocates within itself, as
 * open_memstream does, go past us and are not in it. */
#define SLOTS (1u << 16)
#define GONE  1u
static uintptr_t blocks[SLOTS];
static long alive;
static int spin;

static void enter(void)
{
    while (__atomic_exchange_n(&spin, 1, __ATOMIC_ACQUIRE))
        ;
}

static void leave(void)
{
    __atomic_store_n(&spin, 0, __ATOMIC_RELEASE);
}

static void *add(void *block)
{
    if (!block)
        return NULL;
    enter();
    size_t slot = ((uintptr_t)block >> 4) % SLOTS;
    while (blocks[slot] > GONE)
        slot = (slot + 1) % SLOTS;
    blocks[slot] = (uintptr_t)block;
    alive++;
    leave();
    return block;
}

static void take(const void *block)
{
    if (!block)
        return;
    enter();
    size_t slot = ((uintptr_t)block >> 4) % SLOTS;
    while (blocks[slot] != 0 && blocks[slot] != (uintptr_t)block)
        slot = (slot + 1) % SLOTS;
    if (blocks[slot] != 0) {
        blocks[slot] = GONE;
        alive--;
    }
    leave();
}

static long alive_now(void)
{
    enter();
    const long count = alive;
    leave();
    return count;
}

static bool fails(void)
{
    if (__atomic_load_n(&countdown, __ATOMIC_SEQ_CST) == 0 || __atomic_sub_fetch(&countdown, 1, __ATOMIC_SEQ_CST) != 0)
        return false;
    errno = ENOMEM;
    return true;
}

/* Every library of the program is to find these. */
#pragma GCC visibility push(default)

void *malloc(size_t size)
{
    return fails() ? NULL : add(__libc_malloc(size));
}

void *calloc(size_t count, size_t size)
{
    return fails() ? NULL : add(__libc_calloc(count, size));
}

void *realloc(void *block, size_t size)
{
    if (fails())
        return NULL;
    take(block);
    void *moved = __libc_realloc(block, size);
    add(moved || size == 0 ? moved : block);
    return moved;
}

void free(void *block)
{
    take(block);
    __libc_free(block);
}

#pragma GCC visibility pop

/* ---- the life of a lock ---- */

static struct store store;
static int refusals; /* calls that said NOMEM */

/* A call may fail for want of memory, and in no other way. After one has, what depends on it is skipped. */
static bool went_well(dlock_status status, const dlock_error *error)
{
    if (status != DLOCK_OK && status != DLOCK_NOMEM) {
        countdown = 0;
        fail_msg("%s: %s", dlock_status_name(status), error->message);
    }
    refusals += status == DLOCK_NOMEM;
    return status == DLOCK_OK;
}

static bool go_on(void *arg, const char *key, const dlock_info *info)
{
    (void)arg, (void)key, (void)info;
    return true;
}

static void live_alone(dlock_factory *factory)
{
    dlock_error error;
    dlock *lock = NULL;
    dlock_info info;
    const dlock_acquire_options options = {.size = sizeof options, .ttl_ms = 60000, .retries = 1, .renew = true};
    if (!went_well(dlock_create(factory, "job", &lock, &error), &error))
        return;
    if (went_well(dlock_acquire(lock, &options, &error), &error)) {
        went_well(dlock_extend(lock, 0, &error), &error);
        went_well(dlock_inspect(factory, "job", &info, &error), &error);
        went_well(dlock_list(factory, "", go_on, NULL, &error), &error);
        went_well(dlock_release(lock, &error), &error);
    }
    dlock_free(lock);
}

static void live_asynchronously(dlock_factory *factory)
{
    dlock_error error;
    dlock *lock = NULL;
    dlock_event event;
    struct pollfd fd = {.fd = dlock_factory_fd(factory), .events = POLLIN};
    if (!went_well(dlock_create(factory, "other", &lock, &error), &error))
        return;
    const dlock_acquire_options options = {.size = sizeof options, .wait_ms = 20, .ttl_ms = 60000};
    if (went_well(dlock_acquire_start(lock, &options, NULL, &error), &error)) {
        assert_int_equal(poll(&fd, 1, 30000), 1);
        assert_int_equal(dlock_factory_events(factory, &event, 1), 1);
        if (event.type == DLOCK_EVENT_FAILED)
            went_well(event.error.status, &event.error);
    }
    dlock_free(lock);
}

static void run_life(void)
{
    dlock_error error;
    dlock_factory *factory = NULL;
    if (!went_well(dlock_factory_open(store.url, NULL, &factory, &error), &error))
        return;
    live_alone(factory);
    live_asynchronously(factory);
    dlock_factory_close(factory);
}

static void test_every_allocation_fails_once(void **state)
{
    (void)state;
    run_life(); /* what libraries allocate once and keep */
    run_life();
    long n = 0;
    bool injected = true;
    while (injected) {
        const long before = alive_now();
        n++;
        __atomic_store_n(&countdown, n, __ATOMIC_SEQ_CST);
        run_life();
        injected = __atomic_exchange_n(&countdown, 0, __ATOMIC_SEQ_CST) <= 0;
        if (alive_now() != before)
            fail_msg("allocation %ld failed, and %ld blocks leaked", n, alive_now() - before);
        run_life(); /* what was left in the store must not be in the way */
    }
    print_message("# %ld allocations, %d calls said NOMEM\n", n - 1, refusals);
    assert_true(n > 50);
    assert_true(refusals > 20);
}

static int set_up(void **state)
{
    (void)state;
    store_init(&store);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    store_deinit(&store);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_every_allocation_fails_once, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
