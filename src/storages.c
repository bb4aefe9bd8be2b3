/* storages.c - THE list of storages: the built-in ones, and modules that are loaded when their scheme is first used.
 *
 * Called by factory.c. The only file that names storages. */
#include "storages.h"

#include "../storages/sqlite/sqlite_storage.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char storages_default_url[] = "sqlite:";

static const dlock_storage *const builtin[] = {
    &dlock_sqlite_storage,
};

/* Modules that serve more schemes than the one they are named after. */
static const struct {
    const char *scheme, *module;
} served_by[] = {
    {"mongodb+srv", "mongodb"},
    {"postgres", "postgresql"},
    {"redis+unix", "redis"},
};

/* Modules are kept: code of theirs may be running until the process ends. */
struct module {
    struct module *next;
    const dlock_storage *storage;
};
static pthread_mutex_t modules_mutex = PTHREAD_MUTEX_INITIALIZER;
static struct module *modules; /* guarded by modules_mutex */

static bool serves(const dlock_storage *storage, const char *scheme)
{
    for (const char *const *each = storage->schemes; *each; each++)
        if (strcmp(*each, scheme) == 0)
            return true;
    return false;
}

static bool serves_all(const dlock_storage *storage, const dlock_url *urls)
{
    for (const dlock_url *url = urls; url; url = url->next)
        if (!serves(storage, url->scheme))
            return false;
    return !urls->next || storage->capabilities & DLOCK_STORAGE_SEVERAL_URLS;
}

/* A scheme becomes part of a file name, so it is checked here whoever calls. */
static bool is_scheme(const char *scheme)
{
    return scheme[0] >= 'a' && scheme[0] <= 'z' &&
           scheme[strspn(scheme, "abcdefghijklmnopqrstuvwxyz0123456789+.-")] == '\0';
}

static dlock_status check_module(const dlock_storage *storage, const char *scheme, const char *path, dlock_error *error)
{
    if (!storage)
        return dlock_error_set(error, DLOCK_REFUSED, "module %s gives no storage", path);
    if (storage->api != DLOCK_STORAGE_API)
        return dlock_error_set(error, DLOCK_REFUSED, "module %s is for version %u of storages, this libdlock for %u",
                               path, storage->api, DLOCK_STORAGE_API);
    if (!serves(storage, scheme))
        return dlock_error_set(error, DLOCK_REFUSED, "module %s does not serve URLs that start with %s:", path, scheme);
    return DLOCK_OK;
}

/* Loads the module at `path`. Called with the mutex held. */
static dlock_status load(const char *scheme, const char *path, const dlock_storage **ret, dlock_error *error)
{
    void *handle = NULL;
    dlock_status status = DLOCK_NOMEM;
    struct module *module = malloc(sizeof *module);
    if (!module) {
        dlock_error_set(error, DLOCK_NOMEM, "out of memory");
        goto end;
    }
    handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!handle) {
        status = dlock_error_set(error, DLOCK_REFUSED, "cannot load a module: %s", dlerror());
        goto end;
    }
    dlock_module_function *function;
    *(void **)&function = dlsym(handle, DLOCK_MODULE_SYMBOL);
    if (!function) {
        status = dlock_error_set(error, DLOCK_REFUSED, "module %s exports no %s", path, DLOCK_MODULE_SYMBOL);
        goto end;
    }
    const dlock_storage *storage = function();
    status = check_module(storage, scheme, path, error);
    if (status != DLOCK_OK)
        goto end;
    *module = (struct module){.next = modules, .storage = storage};
    modules = module;
    *ret = storage;
    return DLOCK_OK;
end:
    if (handle)
        dlclose(handle);
    free(module);
    return status;
}

static const char *module_name(const char *scheme)
{
    for (size_t i = 0; i < sizeof served_by / sizeof served_by[0]; i++)
        if (strcmp(served_by[i].scheme, scheme) == 0)
            return served_by[i].module;
    return scheme;
}

static dlock_status find_module(const char *scheme, const dlock_storage **ret, dlock_error *error)
{
    for (const struct module *module = modules; module; module = module->next)
        if (serves(module->storage, scheme)) {
            *ret = module->storage;
            return DLOCK_OK;
        }

    const char *folders = secure_getenv("DLOCK_MODULE_PATH");
    if (!folders || !*folders)
        folders = DLOCK_MODULES_DIR;
    for (const char *folder = folders;; folder++) {
        const size_t length = strcspn(folder, ":");
        char *path;
        if (asprintf(&path, "%.*s/%s.so", (int)length, folder, module_name(scheme)) < 0)
            return dlock_error_set(error, DLOCK_NOMEM, "out of memory");
        const bool there = access(path, F_OK) == 0;
        const dlock_status status = there ? load(scheme, path, ret, error) : DLOCK_UNSUPPORTED;
        free(path);
        if (there)
            return status;
        folder += length;
        if (!*folder)
            break;
    }
    return dlock_error_set(error, DLOCK_UNSUPPORTED,
                           "no storage for URLs that start with %s: - it is not built in, and there is no module "
                           "%s.so in %s",
                           scheme, module_name(scheme), folders);
}

static dlock_status find_one(const char *scheme, const dlock_storage **ret, dlock_error *error)
{
    if (!is_scheme(scheme))
        return dlock_error_set(error, DLOCK_INVALID,
                               "a URL starts with the name of a storage: a letter a-z, then a-z 0-9 + . -");
    for (size_t i = 0; i < sizeof builtin / sizeof builtin[0]; i++)
        if (serves(builtin[i], scheme)) {
            *ret = builtin[i];
            return DLOCK_OK;
        }
    pthread_mutex_lock(&modules_mutex);
    const dlock_status status = find_module(scheme, ret, error);
    pthread_mutex_unlock(&modules_mutex);
    return status;
}

dlock_status storages_find(const dlock_url *urls, const dlock_storage **ret, dlock_error *error)
{
    const dlock_storage *storage = NULL;
    const dlock_url *url = urls;
    do {
        const dlock_status status = find_one(url->scheme, &storage, error);
        if (status != DLOCK_OK)
            return status;
        if (serves_all(storage, urls)) {
            *ret = storage;
            return DLOCK_OK;
        }
        url = url->next;
    } while (url);
    return dlock_error_set(error, DLOCK_INVALID,
                           storage->capabilities & DLOCK_STORAGE_SEVERAL_URLS
                               ? "several URLs make one storage if %s serves all of them, and it does not"
                               : "several URLs were given, but %s takes one",
                           storage->name);
}
