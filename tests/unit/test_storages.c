/* test_storages.c - which storage serves a scheme: src/storages.c. Loads modules of test_storages_module.c, which are
 * made with one fault each, and the example's. */
#include "storages.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

static dlock_status find(const char *scheme, const dlock_storage **ret, dlock_error *error)
{
    return storages_find(&(const dlock_url){.text = "", .scheme = scheme}, ret, error);
}

static void the_embedded_storage_is_built_in(void **state)
{
    (void)state;
    const dlock_storage *storage = NULL;
    assert_int_equal(find("sqlite", &storage, NULL), DLOCK_OK);
    assert_string_equal(storage->name, "sqlite");
    assert_int_equal(storage->api, DLOCK_STORAGE_API);
}

static void *find_memory(void *arg)
{
    find("memory", arg, NULL);
    return NULL;
}

static void a_module_is_loaded_once(void **state)
{
    (void)state;
    setenv("DLOCK_MODULE_PATH", EXAMPLES_FOLDER, 1);
    const dlock_storage *found[4] = {NULL};
    pthread_t threads[4];
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, find_memory, (void *)&found[i]), 0);
    for (size_t i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    for (size_t i = 0; i < 4; i++) {
        assert_non_null(found[i]);
        assert_ptr_equal(found[i], found[0]);
    }
    assert_string_equal(found[0]->name, "memory");
    /* It stays, wherever modules are looked for from now on. */
    setenv("DLOCK_MODULE_PATH", "/nowhere", 1);
    const dlock_storage *storage = NULL;
    assert_int_equal(find("memory", &storage, NULL), DLOCK_OK);
    assert_ptr_equal(storage, found[0]);
}

static void assert_not_found(const char *scheme, dlock_status status, const char *message)
{
    const dlock_storage *storage = (const dlock_storage *)scheme;
    dlock_error error = {0};
    assert_int_equal(find(scheme, &storage, &error), status);
    assert_ptr_equal(storage, scheme); /* untouched */
    assert_int_equal(error.status, status);
    if (!strstr(error.message, message))
        fail_msg("\"%s\" does not say \"%s\"", error.message, message);
}

static void an_unknown_scheme_is_unsupported(void **state)
{
    (void)state;
    setenv("DLOCK_MODULE_PATH", "/nowhere", 1);
    assert_not_found("carrier-pigeon", DLOCK_UNSUPPORTED, "no module carrier-pigeon.so in /nowhere");
    unsetenv("DLOCK_MODULE_PATH");
    assert_not_found("carrier-pigeon", DLOCK_UNSUPPORTED, "/dlock");
    setenv("DLOCK_MODULE_PATH", "", 1);
    assert_not_found("carrier-pigeon", DLOCK_UNSUPPORTED, "/dlock");
}

static void modules_are_looked_for_in_every_folder(void **state)
{
    (void)state;
    setenv("DLOCK_MODULE_PATH", "/nowhere:" EXAMPLES_FOLDER, 1);
    const dlock_storage *storage = NULL;
    assert_int_equal(find("memory", &storage, NULL), DLOCK_OK);
    assert_string_equal(storage->name, "memory");
}

static void several_urls_are_for_storages_that_take_them(void **state)
{
    (void)state;
    const dlock_url second = {.text = "", .scheme = "sqlite"},
                    first = {.text = "", .scheme = "sqlite", .next = &second};
    const dlock_storage *storage = NULL;
    dlock_error error;
    assert_int_equal(storages_find(&first, &storage, &error), DLOCK_INVALID);
    assert_null(storage);
    assert_string_equal(error.message, "several URLs were given, but sqlite takes one");
}

static void a_scheme_cannot_lead_out_of_the_folder(void **state)
{
    (void)state;
    setenv("DLOCK_MODULE_PATH", EXAMPLES_FOLDER "/below", 1);
    static const char *const schemes[] = {"../memory",   "",  ".",  "..",  "a/b",
                                          "/etc/passwd", "A", "1a", "a b", "\xc3\xa9"};
    for (size_t i = 0; i < sizeof schemes / sizeof schemes[0]; i++)
        assert_not_found(schemes[i], DLOCK_INVALID, "a letter a-z");
}

static void a_faulty_module_is_refused_with_its_fault(void **state)
{
    (void)state;
    setenv("DLOCK_MODULE_PATH", MODULES_FOLDER, 1);
    assert_not_found("faulty-version", DLOCK_REFUSED, "version 99");
    assert_not_found("faulty-scheme", DLOCK_REFUSED, "does not serve");
    assert_not_found("faulty-null", DLOCK_REFUSED, "gives no storage");
    assert_not_found("faulty-symbol", DLOCK_REFUSED, "exports no dlock_module");
    assert_not_found("faulty-text", DLOCK_REFUSED, "faulty-text.so");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_embedded_storage_is_built_in),
        cmocka_unit_test(an_unknown_scheme_is_unsupported),
        cmocka_unit_test(a_scheme_cannot_lead_out_of_the_folder),
        cmocka_unit_test(a_faulty_module_is_refused_with_its_fault),
        cmocka_unit_test(several_urls_are_for_storages_that_take_them),
        cmocka_unit_test(modules_are_looked_for_in_every_folder),
        cmocka_unit_test(a_module_is_loaded_once),
    };
    return cmocka_run_group_tests_name("storages", tests, NULL, NULL);
}
