/* addon.c - what lib/native.js sees: libdlock's functions with their JavaScript arguments.
 *
 * An asynchronous one returns nothing and reports by the `tell` of its factory (factory.h); one that cannot even start
 * throws an Error with `code`. Only lib/ calls this, with arguments that it has checked. */
#include "factory.h"

#include <stdlib.h>

#define ARGUMENTS_MAX 8

static void read_arguments(napi_env env, napi_callback_info info, napi_value arguments[ARGUMENTS_MAX])
{
    size_t count = ARGUMENTS_MAX;
    napi_get_cb_info(env, info, &count, arguments, NULL, NULL);
}

static double number(napi_env env, napi_value value)
{
    double number = 0;
    napi_get_value_double(env, value, &number);
    return number;
}

static uint32_t unsigned_number(napi_env env, napi_value value)
{
    const double given = number(env, value);
    return given >= UINT32_MAX ? UINT32_MAX : given > 0 ? (uint32_t)given : 0;
}

static void *pointer(napi_env env, napi_value value)
{
    void *pointer = NULL;
    napi_get_value_external(env, value, &pointer);
    return pointer;
}

/* The string in UTF-8; freed by the caller. NULL = no string, or no memory. */
static char *copy_text(napi_env env, napi_value value)
{
    size_t length = 0;
    if (napi_get_value_string_utf8(env, value, NULL, 0, &length) != napi_ok)
        return NULL;
    char *text = malloc(length + 1);
    if (text)
        napi_get_value_string_utf8(env, value, text, length + 1, &length);
    return text;
}

static napi_value throw_error(napi_env env, const dlock_error *error)
{
    napi_throw_error(env, dlock_status_name(error->status), error->message);
    return NULL;
}

static napi_value throw_invalid(napi_env env, const char *message)
{
    napi_throw_error(env, dlock_status_name(DLOCK_INVALID), message);
    return NULL;
}

static napi_value throw_closed(napi_env env)
{
    return throw_invalid(env, "the factory is closed");
}

static void drop_factory(napi_env env, void *data, void *hint)
{
    (void)env, (void)hint;
    factory_drop(data);
}

static void drop_handle(napi_env env, void *data, void *hint)
{
    (void)env, (void)hint;
    handle_drop(data);
}

/* open(url, machine or undefined, timeout in ms or 0, tell) -> factory */
static napi_value open_factory(napi_env env, napi_callback_info info)
{
    napi_value arguments[ARGUMENTS_MAX], ret = NULL;
    read_arguments(env, info, arguments);
    char *url = copy_text(env, arguments[0]), *machine = copy_text(env, arguments[1]);
    dlock_factory_options options = DLOCK_FACTORY_OPTIONS_INIT;
    options.machine = machine;
    options.timeout_ms = unsigned_number(env, arguments[2]);
    dlock_error error = {.status = DLOCK_NOMEM, .message = "out of memory"};
    struct factory *factory = url ? factory_open(env, url, &options, arguments[3], &error) : NULL;
    if (!factory)
        throw_error(env, &error);
    else if (napi_create_external(env, factory, drop_factory, NULL, &ret) != napi_ok)
        factory_drop(factory);
    free(machine);
    free(url);
    return ret;
}

/* create(factory, key) -> handle */
static napi_value create(napi_env env, napi_callback_info info)
{
    napi_value arguments[ARGUMENTS_MAX], ret = NULL;
    read_arguments(env, info, arguments);
    struct factory *factory = pointer(env, arguments[0]);
    if (factory->closing)
        return throw_closed(env);
    char *key = copy_text(env, arguments[1]);
    dlock_error error = {.status = DLOCK_NOMEM, .message = "out of memory"};
    struct handle *handle = key ? handle_new(factory, key, &error) : NULL;
    if (!handle)
        throw_error(env, &error);
    else if (napi_create_external(env, handle, drop_handle, NULL, &ret) != napi_ok)
        handle_drop(handle);
    free(key);
    return ret;
}

/* The handle of a call that is to start; NULL if it must not, and then something is thrown. */
static struct handle *enter(napi_env env, napi_callback_info info, napi_value arguments[ARGUMENTS_MAX])
{
    read_arguments(env, info, arguments);
    struct handle *handle = pointer(env, arguments[0]);
    if (!handle->factory->closing)
        return handle;
    throw_closed(env);
    return NULL;
}

static void *tag(napi_env env, napi_value id)
{
    return (void *)(uintptr_t)number(env, id);
}

/* acquire(handle, id, ttl, retries, interval, wait, renew); times in ms, as in dlock_acquire_options */
static napi_value acquire(napi_env env, napi_callback_info info)
{
    napi_value arguments[ARGUMENTS_MAX];
    struct handle *handle = enter(env, info, arguments);
    if (!handle)
        return NULL;
    dlock_acquire_options options = DLOCK_ACQUIRE_OPTIONS_INIT;
    options.ttl_ms = unsigned_number(env, arguments[2]);
    options.retries = unsigned_number(env, arguments[3]);
    options.interval_ms = unsigned_number(env, arguments[4]);
    options.wait_ms = unsigned_number(env, arguments[5]);
    napi_get_value_bool(env, arguments[6], &options.renew);
    dlock_error error;
    if (dlock_acquire_start(handle->lock, &options, tag(env, arguments[1]), &error) != DLOCK_OK)
        return throw_error(env, &error);
    return NULL;
}

/* extend(handle, id, ttl in ms) */
static napi_value extend(napi_env env, napi_callback_info info)
{
    napi_value arguments[ARGUMENTS_MAX];
    struct handle *handle = enter(env, info, arguments);
    dlock_error error;
    if (handle && dlock_extend_start(handle->lock, unsigned_number(env, arguments[2]), tag(env, arguments[1]),
                                     &error) != DLOCK_OK)
        return throw_error(env, &error);
    return NULL;
}

/* release(handle, id) */
static napi_value release(napi_env env, napi_callback_info info)
{
    napi_value arguments[ARGUMENTS_MAX];
    struct handle *handle = enter(env, info, arguments);
    dlock_error error;
    if (handle && dlock_release_start(handle->lock, tag(env, arguments[1]), &error) != DLOCK_OK)
        return throw_error(env, &error);
    return NULL;
}

/* The lock of a call that only looks; NULL, which libdlock takes, while the factory may be gone. */
static dlock *look_at(napi_env env, napi_callback_info info)
{
    napi_value arguments[ARGUMENTS_MAX];
    read_arguments(env, info, arguments);
    struct handle *handle = pointer(env, arguments[0]);
    return handle->factory->closing ? NULL : handle->lock;
}

/* cancel(handle) */
static napi_value cancel(napi_env env, napi_callback_info info)
{
    dlock_cancel(look_at(env, info));
    return NULL;
}

/* fence(handle) -> BigInt */
static napi_value fence(napi_env env, napi_callback_info info)
{
    napi_value ret = NULL;
    napi_create_bigint_uint64(env, dlock_fence(look_at(env, info)), &ret);
    return ret;
}

/* remaining(handle) -> ms */
static napi_value remaining(napi_env env, napi_callback_info info)
{
    napi_value ret = NULL;
    napi_create_int64(env, dlock_remaining_ms(look_at(env, info)), &ret);
    return ret;
}

/* held(handle) -> boolean */
static napi_value held(napi_env env, napi_callback_info info)
{
    napi_value ret = NULL;
    napi_get_boolean(env, dlock_is_held(look_at(env, info)), &ret);
    return ret;
}

/* owner(handle) -> string */
static napi_value owner(napi_env env, napi_callback_info info)
{
    napi_value ret = NULL;
    napi_create_string_utf8(env, dlock_owner(look_at(env, info)), NAPI_AUTO_LENGTH, &ret);
    return ret;
}

/* address(handle) -> number: what LOST names the lock by. Memory is aligned to 16, so a double has it exactly. */
static napi_value address(napi_env env, napi_callback_info info)
{
    napi_value arguments[ARGUMENTS_MAX], ret = NULL;
    read_arguments(env, info, arguments);
    const struct handle *handle = pointer(env, arguments[0]);
    napi_create_double(env, (double)(uintptr_t)handle->lock, &ret);
    return ret;
}

static napi_value ask(napi_env env, napi_callback_info info, enum question_kind kind)
{
    napi_value arguments[ARGUMENTS_MAX];
    read_arguments(env, info, arguments);
    struct factory *factory = pointer(env, arguments[0]);
    if (factory->closing)
        return throw_closed(env);
    char *text = kind == QUESTION_CLOSE ? NULL : copy_text(env, arguments[2]);
    struct question *question = question_new(kind, number(env, arguments[1]), text ? text : "");
    free(text);
    if (question && kind == QUESTION_CLOSE) {
        factory_close(factory, question);
        return NULL;
    }
    if (question && asker_post(&factory->asker, question))
        return NULL;
    if (question)
        question_free(question);
    return throw_error(env, &(dlock_error){.status = DLOCK_NOMEM, .message = "out of memory or threads"});
}

/* inspect(factory, id, key) */
static napi_value inspect(napi_env env, napi_callback_info info)
{
    return ask(env, info, QUESTION_INSPECT);
}

/* list(factory, id, prefix) */
static napi_value list(napi_env env, napi_callback_info info)
{
    return ask(env, info, QUESTION_LIST);
}

/* break(factory, id, key) */
static napi_value force(napi_env env, napi_callback_info info)
{
    return ask(env, info, QUESTION_BREAK);
}

/* close(factory, id) */
static napi_value close_factory(napi_env env, napi_callback_info info)
{
    return ask(env, info, QUESTION_CLOSE);
}

/* holdLoop(factory, boolean) */
static napi_value hold_loop(napi_env env, napi_callback_info info)
{
    napi_value arguments[ARGUMENTS_MAX];
    read_arguments(env, info, arguments);
    bool hold = false;
    napi_get_value_bool(env, arguments[1], &hold);
    factory_hold_loop(pointer(env, arguments[0]), hold);
    return NULL;
}

/* where(factory) -> the URL without its password */
static napi_value where(napi_env env, napi_callback_info info)
{
    napi_value arguments[ARGUMENTS_MAX], ret = NULL;
    read_arguments(env, info, arguments);
    const struct factory *factory = pointer(env, arguments[0]);
    napi_create_string_utf8(env, dlock_factory_where(factory->closing ? NULL : factory->core), NAPI_AUTO_LENGTH, &ret);
    return ret;
}

NAPI_MODULE_INIT()
{
#ifdef DLOCK_NODE_MODULES
    /* Built beside a libdlock that is not installed: its modules are not where it would look for them. */
    setenv("DLOCK_MODULE_PATH", DLOCK_NODE_MODULES, 0);
#endif
    static const struct {
        const char *name;
        napi_callback call;
    } functions[] = {
        {"open", open_factory}, {"create", create}, {"acquire", acquire},     {"extend", extend},
        {"release", release},   {"cancel", cancel}, {"fence", fence},         {"remaining", remaining},
        {"held", held},         {"owner", owner},   {"address", address},     {"inspect", inspect},
        {"list", list},         {"break", force},   {"close", close_factory}, {"holdLoop", hold_loop},
        {"where", where},
    };
    for (size_t i = 0; i < sizeof functions / sizeof functions[0]; i++) {
        napi_value function;
        if (napi_create_function(env, functions[i].name, NAPI_AUTO_LENGTH, functions[i].call, NULL, &function) !=
                napi_ok ||
            napi_set_named_property(env, exports, functions[i].name, function) != napi_ok)
            return NULL;
    }
    return exports;
}
