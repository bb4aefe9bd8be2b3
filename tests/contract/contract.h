/* contract.h - what the two levels of the contract suite share. Called by test_storage.c and test_api.c. */
#ifndef DLOCK_TESTS_CONTRACT_H
#define DLOCK_TESTS_CONTRACT_H

#include "dlock_storage.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* A ttl that is over soon, for tests that wait for its end; one that is not over while a test runs; and a limit that
 * lies between them, which a time left can be held against. */
#define SHORT_MS 60
#define LONG_MS  600000
#define FAR_MS   300000

/* For how long a condition is waited for before the test fails. */
#define PATIENCE_MS 30000

/* The storage that is tested, found by the URL of the command line. */
extern const char *contract_url;
extern const dlock_storage *storage;
extern const dlock_url *url;

/* A key that no other test and no other run uses; `name` is its end. The text lives until the program ends. */
const char *key_of(const char *name);

/* The beginning of all keys of the running test. */
const char *key_prefix(void);

/* Has the time of a wait that began at `since` come to its end? Sleeps a little if not. */
bool patience_is_over(int64_t since);

extern const struct CMUnitTest storage_tests[], list_tests[], watch_tests[], api_tests[];
extern const size_t storage_test_count, list_test_count, watch_test_count, api_test_count;

#endif
