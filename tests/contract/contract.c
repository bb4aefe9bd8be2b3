/* contract.c - `contract URL`: does the storage that URL names keep the contract of dlock_storage.h, and does the
 * library keep its promises over it?
 *
 * One suite for every storage: it is found by its URL like any user finds it, and what only one storage has is tested
 * elsewhere. Prints TAP when CMOCKA_MESSAGE_OUTPUT=TAP. Exit code 1 if a test fails, 2 if the URL is no good. */
#include "contract.h"

#include "storages.h"
#include "url.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

const char *contract_url;
const dlock_storage *storage;
const dlock_url *url;

static char run[17]; /* of random digits, so that runs over one server do not meet */
static unsigned test_number;

const char *key_prefix(void)
{
    static char prefix[64];
    snprintf(prefix, sizeof prefix, "contract:%s:%u:", run, test_number);
    return prefix;
}

const char *key_of(const char *name)
{
    static struct kept {
        struct kept *next;
        char key[];
    } * kept; /* so that leak checkers still see them */
    const size_t size = strlen(key_prefix()) + strlen(name) + 1;
    struct kept *key = malloc(sizeof *key + size);
    assert_non_null(key);
    snprintf(key->key, size, "%s%s", key_prefix(), name);
    key->next = kept;
    kept = key;
    return key->key;
}

bool patience_is_over(int64_t since)
{
    if (dlock_clock_us() - since > PATIENCE_MS * INT64_C(1000))
        return true;
    nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
    return false;
}

static void choose_run(void)
{
    uint64_t random;
    if (getrandom(&random, sizeof random, 0) != sizeof random)
        abort();
    snprintf(run, sizeof run, "%016llx", (unsigned long long)random);
}

/* Each test has keys of its own. */
static int next_test(void **state)
{
    (void)state;
    test_number++;
    return 0;
}

/* Some storages can watch only where the way to them is such, as one that leads through no pooler. */
static bool can_watch(void)
{
    static const dlock_storage_options options = {.timeout_ms = 10000};
    void *session = storage->watch ? calloc(1, storage->session_size ? storage->session_size : 1) : NULL;
    if (!session)
        return false;
    const bool can = storage->open(session, url, &options, NULL) == DLOCK_OK && storage->watch_fd(session) >= 0;
    storage->close(session);
    free(session);
    return can;
}

/* What applies to this storage, as one group: TAP has one plan. */
static int run_what_applies(void)
{
    const struct {
        const struct CMUnitTest *tests;
        size_t count;
        bool applies;
    } parts[] = {
        {storage_tests, storage_test_count, true},
        {list_tests, list_test_count, storage->list != NULL},
        {watch_tests, watch_test_count, can_watch()},
        {api_tests, api_test_count, true},
    };
    struct CMUnitTest tests[100];
    size_t count = 0;
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        for (size_t j = 0; parts[i].applies && j < parts[i].count; j++) {
            if (count == sizeof tests / sizeof tests[0])
                abort();
            tests[count] = parts[i].tests[j];
            tests[count++].setup_func = next_test;
        }
    return _cmocka_run_group_tests("contract", tests, count, NULL, NULL);
}

int main(int argc, char **argv)
{
    dlock_url *parsed = NULL;
    dlock_error error;
    if (argc != 2) {
        fprintf(stderr, "usage: contract URL\n");
        return 2;
    }
    contract_url = argv[1];
    if (url_parse(contract_url, &parsed, &error) != DLOCK_OK || storages_find(parsed, &storage, &error) != DLOCK_OK) {
        fprintf(stderr, "contract: %s\n", error.message);
        url_free(parsed);
        return 2;
    }
    url = parsed;
    choose_run();
    const int failed = run_what_applies();
    url_free(parsed);
    return failed ? 1 : 0;
}
