/* addon.c - what lib/native.js sees: libdlock's functions with their JavaScript arguments.
 *
 * An asynchronous one returns nothing and reports by the `tell` of its factory (factory.h); one that cannot even start
 * throws an Error with `code`. Only lib/ calls this, with arguments that it has checked. */
#include "factory.h"

#include <stdlib.h>

#define ARGUMENTS_MAX 8

/* Returns the `kind` of the function, by which some that differ in little share their code. */
static int read_arguments(napi_env env, napi_callback_info info, napi_value arguments[ARGUMENTS_MAX])
{
    size_t count = ARGUMENTS_MAX;
    void *kind = NULL;
    napi_get_cb_info(env, info, &count, arguments, NULL, &kind);
    return (int)(intptr_t)kind;
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

/* The loop goes on while the call runs. */
static napi_value started(napi_env env, struct handle *handle, dlock_status status, const dlock_error *error)
{
    if (status != DLOCK_OK)
        return throw_error(env, error);
    factory_call_started(handle->factory);
    return NULL;
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
    return started(env, handle, dlock_acquire_start(handle->lock, &options, tag(env, arguments[1]), &error), &error);
}

/* extend(handle, id, ttl in ms) */
static napi_value extend(napi_env env, napi_callback_info info)
{
    napi_value arguments[ARGUMENTS_MAX];
    struct handle *handle = enter(env, info, arguments);
    if (!handle)
        return NULL;
    const uint32_t ttl = unsigned_number(env, arguments[2]);
    dlock_error error;
    return started(env, handle, dlock_extend_start(handle->lock, ttl, tag(env, arguments[1]), &error), &error);
}

/* release(handle, id) */
static napi_value release(napi_env env, napi_callback_info info)
{
    napi_value arguments[ARGUMENTS_MAX];
    struct handle *handle = enter(env, info, arguments);
    if (!handle)
        return NULL;
    dlock_error error;
    return started(env, handle, dlock_release_start(handle->lock, tag(env, arguments[1]), &error), &error);
}

enum look { LOOK_FENCE, LOOK_REMAINING, LOOK_HELD, LOOK_OWNER };

/* fence(handle) -> BigInt; remaining(handle) -> ms; held(handle) -> boolean; owner(handle) -> string */
static napi_value look(napi_env env, napi_callback_info info)
{
    napi_value arguments[ARGUMENTS_MAX], ret = NULL;
    const enum look kind = (enum look)read_arguments(env, info, arguments);
    const struct handle *handle = pointer(env, arguments[0]);
    /* While the factory may be gone: NULL, which libdlock takes. */
    const dlock *lock = handle->factory->closing ? NULL : handle->lock;
    switch (kind) {
    case LOOK_FENCE:
        napi_create_bigint_uint64(env, dlock_fence(lock), &ret);
        break;
    case LOOK_REMAINING:
        napi_create_int64(env, dlock_remaining_ms(lock), &ret);
        break;
    case LOOK_HELD:
        napi_get_boolean(env, dlock_is_held(lock), &ret);
        break;
    case LOOK_OWNER:
        napi_create_string_utf8(env, dlock_owner(lock), NAPI_AUTO_LENGTH, &ret);
        break;
    }
    return ret;
}

/* cancel(handle) */
static napi_value cancel(napi_env env, napi_callback_info info)
{
    napi_value arguments[ARGUMENTS_MAX];
    read_arguments(env, info, arguments);
    const struct handle *handle = pointer(env, arguments[0]);
    if (!handle->factory->closing)
        dlock_cancel(handle->lock);
    return NULL;
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

/* inspect(factory, id, key); list(factory, id, prefix); break(factory, id, key); close(factory, id) */
static napi_value ask(napi_env env, napi_callback_info info)
{
    napi_value arguments[ARGUMENTS_MAX];
    const enum question_kind kind = (enum question_kind)read_arguments(env, info, arguments);
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
    if (question && asker_post(&factory->asker, question)) {
        factory_enter_loop(factory);
        return NULL;
    }
    if (question)
        question_free(question);
    return throw_error(env, &(dlock_error){.status = DLOCK_NOMEM, .message = "out of memory or threads"});
}

/* holdLoop(factory, boolean): a reason more, or less, for the loop to go on */
static napi_value hold_loop(napi_env env, napi_callback_info info)
{
    napi_value arguments[ARGUMENTS_MAX];
    read_arguments(env, info, arguments);
    struct factory *factory = pointer(env, arguments[0]);
    bool hold = false;
    napi_get_value_bool(env, arguments[1], &hold);
    if (hold)
        factory_enter_loop(factory);
    else
        factory_leave_loop(factory);
    return NULL;
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
        int kind;
    } functions[] = {
        {"open", open_factory, 0},      {"create", create, 0},
        {"acquire", acquire, 0},        {"extend", extend, 0},
        {"release", release, 0},        {"cancel", cancel, 0},
        {"fence", look, LOOK_FENCE},    {"remaining", look, LOOK_REMAINING},
        {"held", look, LOOK_HELD},      {"owner", look, LOOK_OWNER},
        {"address", address, 0},        {"inspect", ask, QUESTION_INSPECT},
        {"list", ask, QUESTION_LIST},   {"break", ask, QUESTION_BREAK},
        {"close", ask, QUESTION_CLOSE}, {"holdLoop", hold_loop, 0},
    };
    for (size_t i = 0; i < sizeof functions / sizeof functions[0]; i++) {
        napi_value function;
        void *kind = (void *)(intptr_t)functions[i].kind;
        if (napi_create_function(env, functions[i].name, NAPI_AUTO_LENGTH, functions[i].call, kind, &function) !=
                napi_ok ||
            napi_set_named_property(env, exports, functions[i].name, function) != napi_ok)
            return NULL;
    }
    return exports;
}
