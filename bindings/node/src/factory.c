/* factory.c - see factory.h. */
#include "factory.h"

#include <stdlib.h>

#define EVENTS_AT_ONCE 32

static void unreference(struct factory *factory)
{
    if (--factory->references > 0)
        return;
    asker_deinit(&factory->asker);
    free(factory);
}

/* A factory that is being closed has its own way to keep the loop going: by `async`. */
void factory_enter_loop(struct factory *factory)
{
    if (factory->reasons++ == 0 && factory->poll)
        uv_ref(factory->poll);
}

void factory_leave_loop(struct factory *factory)
{
    if (--factory->reasons == 0 && factory->poll)
        uv_unref(factory->poll);
}

void factory_call_started(struct factory *factory)
{
    factory_enter_loop(factory);
    lookout_call_started(&factory->lookout);
}

static void call_ended(struct factory *factory)
{
    lookout_call_ended(&factory->lookout);
    factory_leave_loop(factory);
}

/* ---- telling JavaScript ------------------------------------------------------------------------------------------ */

static napi_value text(napi_env env, const char *text)
{
    napi_value value = NULL;
    napi_create_string_utf8(env, text, NAPI_AUTO_LENGTH, &value);
    return value;
}

static void set(napi_env env, napi_value object, const char *name, napi_value value)
{
    napi_set_named_property(env, object, name, value);
}

static void set_number(napi_env env, napi_value object, const char *name, int64_t number)
{
    napi_value value;
    napi_create_int64(env, number, &value);
    set(env, object, name, value);
}

napi_value factory_info(napi_env env, const char *key, const dlock_info *info)
{
    napi_value object, fence;
    napi_create_object(env, &object);
    if (key)
        set(env, object, "key", text(env, key));
    set(env, object, "owner", text(env, info->owner));
    napi_create_bigint_uint64(env, info->fence, &fence);
    set(env, object, "fence", fence);
    set_number(env, object, "ttl", info->ttl_ms);
    set_number(env, object, "held", info->held_ms);
    set_number(env, object, "remaining", info->remaining_ms);
    return object;
}

/* Calls `tell`, which throws nothing; should it do so all the same, the process hears of it. */
static void tell(struct factory *factory, enum news news, double id, const dlock_error *error, napi_value detail)
{
    napi_env env = factory->env;
    napi_value arguments[5], undefined, function;
    napi_create_int32(env, news, &arguments[0]);
    napi_create_double(env, id, &arguments[1]);
    napi_get_undefined(env, &undefined);
    arguments[2] = arguments[3] = undefined;
    arguments[4] = detail ? detail : undefined;
    if (error && error->status != DLOCK_OK) {
        arguments[2] = text(env, dlock_status_name(error->status));
        arguments[3] = text(env, error->message);
        if (error->status == DLOCK_BUSY)
            arguments[4] = factory_info(env, NULL, &error->holder);
    }
    if (napi_get_reference_value(env, factory->tell, &function) != napi_ok ||
        napi_call_function(env, undefined, function, 5, arguments, NULL) != napi_pending_exception)
        return;
    napi_value thrown;
    napi_get_and_clear_last_exception(env, &thrown);
    napi_fatal_exception(env, thrown);
}

/* JavaScript is called within a scope, at the end of which node runs what the promises have waiting. */
static void in_scope(struct factory *factory, void (*report)(struct factory *factory))
{
    napi_env env = factory->env;
    napi_handle_scope handles;
    napi_callback_scope callbacks;
    napi_value resource;
    if (napi_open_handle_scope(env, &handles) != napi_ok)
        return;
    napi_create_object(env, &resource);
    if (napi_open_callback_scope(env, resource, factory->context, &callbacks) == napi_ok) {
        report(factory);
        napi_close_callback_scope(env, callbacks);
    }
    napi_close_handle_scope(env, handles);
}

static void report_events(struct factory *factory)
{
    dlock_event events[EVENTS_AT_ONCE];
    const size_t count = dlock_factory_events(factory->core, events, EVENTS_AT_ONCE);
    for (size_t i = 0; i < count; i++)
        if (events[i].type == DLOCK_EVENT_LOST) {
            tell(factory, NEWS_LOST, (double)(uintptr_t)events[i].lock, &events[i].error, NULL);
        } else {
            call_ended(factory);
            tell(factory, NEWS_DONE, (double)(uintptr_t)events[i].tag, &events[i].error, NULL);
        }
}

/* What does not fit into one turn of the loop comes with the next: the descriptor stays readable. */
static void events_ready(uv_handle_t *poll, int status, int events)
{
    struct factory *factory = uv_handle_get_data(poll);
    if (status == 0 && events && !factory->closing)
        in_scope(factory, report_events);
}

static napi_value answer_of(napi_env env, const struct question *question)
{
    napi_value value = NULL;
    if (question->status != DLOCK_OK || question->kind == QUESTION_CLOSE)
        return NULL;
    if (question->kind != QUESTION_LIST)
        return factory_info(env, question->text, &question->info);
    napi_create_array_with_length(env, question->count, &value);
    for (size_t i = 0; i < question->count; i++) {
        napi_handle_scope scope;
        napi_open_handle_scope(env, &scope);
        const struct entry *entry = &question->entries[i];
        napi_set_element(env, value, (uint32_t)i, factory_info(env, entry->key, &entry->info));
        napi_close_handle_scope(env, scope);
    }
    return value;
}

static void end_close(struct factory *factory);

static void report_answers(struct factory *factory)
{
    struct question *question;
    while ((question = asker_take(&factory->asker))) {
        const bool last = question->kind == QUESTION_CLOSE;
        if (!last)
            factory_leave_loop(factory);
        tell(factory, NEWS_ANSWER, question->id, question->status == DLOCK_OK ? NULL : &question->error,
             answer_of(factory->env, question));
        question_free(question);
        if (last) {
            end_close(factory);
            break;
        }
    }
}

static void answers_ready(uv_handle_t *async)
{
    in_scope(uv_handle_get_data(async), report_answers);
}

static void wake_loop(void *arg)
{
    struct factory *factory = arg;
    uv_async_send(factory->async);
}

/* ---- open and close ---------------------------------------------------------------------------------------------- */

static void handle_closed(uv_handle_t *handle)
{
    struct factory *factory = uv_handle_get_data(handle);
    free(handle);
    if (--factory->open_handles == 0) {
        if (factory->tell)
            napi_delete_reference(factory->env, factory->tell);
        if (factory->context)
            napi_async_destroy(factory->env, factory->context);
        if (factory->hook)
            napi_remove_async_cleanup_hook(factory->hook);
    }
    unreference(factory);
}

static void close_handle(uv_handle_t **handle)
{
    if (*handle)
        uv_close(*handle, handle_closed);
    *handle = NULL;
}

/* From now on the loop has nothing to do with the descriptor of events. */
static void leave_events(struct factory *factory)
{
    uv_poll_stop(factory->poll);
    close_handle(&factory->poll);
    lookout_stop(&factory->lookout);
    close_handle(&factory->lookout.idle);
}

static void free_handle(struct handle *handle)
{
    struct factory *factory = handle->factory;
    dlock_free(handle->lock);
    free(handle);
    unreference(factory);
}

/* The factory of libdlock is closed; what waited for that goes, too. */
static void end_close(struct factory *factory)
{
    asker_join(&factory->asker);
    factory->closed = true;
    factory->core = NULL;
    while (factory->orphans) {
        struct handle *orphan = factory->orphans;
        factory->orphans = orphan->behind;
        free_handle(orphan);
    }
    close_handle(&factory->async);
}

void factory_close(struct factory *factory, struct question *question)
{
    factory->closing = true;
    /* Before the other thread closes the descriptor. */
    leave_events(factory);
    uv_ref(factory->async);
    if (asker_post(&factory->asker, question))
        return;
    /* No thread to be had: rather wait here than leave locks behind. */
    dlock_factory_close(factory->core);
    question_free(question);
    end_close(factory);
}

/* Ends the holds that nobody can end any more, as the npm package does: with their ttl. */
static void detach_all(struct factory *factory)
{
    for (struct handle *handle = factory->handles; handle; handle = handle->behind)
        dlock_detach(handle->lock, NULL);
}

void factory_drop(struct factory *factory)
{
    if (!factory->closing) {
        detach_all(factory);
        struct question *question = question_new(QUESTION_CLOSE, 0, "");
        if (question)
            factory_close(factory, question);
        if (factory->async)
            uv_unref(factory->async);
    }
    unreference(factory);
}

/* The environment ends: a worker, or the process. Nothing of it may run afterwards. */
static void environment_ends(napi_async_cleanup_hook_handle hook, void *arg)
{
    struct factory *factory = arg;
    (void)hook;
    if (!factory->closing) {
        detach_all(factory);
        factory->closing = true;
        leave_events(factory);
        struct question *question = factory->asker.started ? question_new(QUESTION_CLOSE, 0, "") : NULL;
        if (!question || !asker_post(&factory->asker, question))
            dlock_factory_close(factory->core);
    }
    if (!factory->closed)
        end_close(factory);
}

static uv_handle_t *new_handle(struct factory *factory, int type)
{
    uv_handle_t *handle = calloc(1, uv_handle_size(type));
    if (handle)
        uv_handle_set_data(handle, factory);
    return handle;
}

/* From here on libuv has the handle, and tells when it is done with it. */
static void handed_over(struct factory *factory, uv_handle_t *handle)
{
    uv_unref(handle);
    factory->open_handles++;
    factory->references++;
}

static void loop_turned(uv_handle_t *idle)
{
    struct factory *factory = uv_handle_get_data(idle);
    lookout_turn(&factory->lookout);
}

/* Puts the factory into the loop. */
static bool join_loop(struct factory *factory)
{
    uv_loop_t *loop = NULL;
    if (napi_get_uv_event_loop(factory->env, (struct uv_loop_s **)&loop) != napi_ok)
        return false;
    const int fd = dlock_factory_fd(factory->core);
    uv_handle_t *poll = new_handle(factory, UV_POLL), *async = new_handle(factory, UV_ASYNC),
                *idle = new_handle(factory, UV_IDLE);
    if (fd < 0 || !poll || !async || !idle || uv_poll_init(loop, poll, fd) != 0) {
        free(poll);
        free(async);
        free(idle);
        return false;
    }
    handed_over(factory, poll);
    factory->poll = poll;
    uv_idle_init(loop, idle); /* always succeeds */
    handed_over(factory, idle);
    factory->lookout = (struct lookout){.idle = idle, .turn = loop_turned};
    if (uv_async_init(loop, async, answers_ready) != 0) {
        free(async);
        return false;
    }
    handed_over(factory, async);
    factory->async = async;
    uv_poll_start(poll, UV_READABLE, events_ready);
    return true;
}

struct factory *factory_open(napi_env env, const char *url, const dlock_factory_options *options, napi_value tell,
                             dlock_error *error)
{
    struct factory *factory = calloc(1, sizeof *factory);
    if (!factory) {
        *error = (dlock_error){.status = DLOCK_NOMEM, .message = "out of memory"};
        return NULL;
    }
    factory->env = env;
    if (dlock_factory_open(url, options, &factory->core, error) != DLOCK_OK) {
        free(factory);
        return NULL;
    }
    factory->references = 1;
    asker_init(&factory->asker, factory->core, wake_loop, factory);
    napi_value name = text(env, "distributed-locks"), resource;
    napi_create_object(env, &resource);
    if (napi_async_init(env, resource, name, &factory->context) == napi_ok &&
        napi_create_reference(env, tell, 1, &factory->tell) == napi_ok && join_loop(factory) &&
        napi_add_async_cleanup_hook(env, environment_ends, factory, &factory->hook) == napi_ok)
        return factory;
    *error = (dlock_error){.status = DLOCK_NOMEM, .message = "the event loop does not take the factory's descriptor"};
    dlock_factory_close(factory->core);
    close_handle(&factory->poll);
    close_handle(&factory->lookout.idle);
    close_handle(&factory->async);
    unreference(factory);
    return NULL;
}

/* ---- handles ------------------------------------------------------------------------------------------------------
 */

struct handle *handle_new(struct factory *factory, const char *key, dlock_error *error)
{
    struct handle *handle = calloc(1, sizeof *handle);
    if (!handle) {
        *error = (dlock_error){.status = DLOCK_NOMEM, .message = "out of memory"};
        return NULL;
    }
    if (dlock_create(factory->core, key, &handle->lock, error) != DLOCK_OK) {
        free(handle);
        return NULL;
    }
    handle->factory = factory;
    factory->references++;
    handle->behind = factory->handles;
    if (handle->behind)
        handle->behind->before = handle;
    factory->handles = handle;
    return handle;
}

static void unlink_handle(struct handle *handle)
{
    if (handle->before)
        handle->before->behind = handle->behind;
    else
        handle->factory->handles = handle->behind;
    if (handle->behind)
        handle->behind->before = handle->before;
    handle->before = handle->behind = NULL;
}

void handle_drop(struct handle *handle)
{
    struct factory *factory = handle->factory;
    unlink_handle(handle);
    if (factory->closing && !factory->closed) {
        handle->behind = factory->orphans;
        factory->orphans = handle;
        return;
    }
    if (!factory->closing)
        dlock_detach(handle->lock, NULL);
    free_handle(handle);
}
