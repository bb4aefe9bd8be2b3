/* factory.h - a factory in node's event loop, and the handles of its locks.
 *
 * addon.c calls this from JavaScript. Everything runs in the thread of one environment (the main thread or a worker),
 * except what asker.c does in its own. */
#ifndef DLOCK_NODE_FACTORY_H
#define DLOCK_NODE_FACTORY_H

#include "asker.h"
#include "lookout.h"
#include "loop.h"

#include <node_api.h>

/* What JavaScript is told: tell(NEWS_..., id, code, message, detail); a code of undefined is success. */
enum news {
    NEWS_DONE,  /* id: of the acquire, extend or release; detail: with BUSY, the holder */
    NEWS_LOST,  /* id: the lock's address */
    NEWS_ANSWER /* id: of the question; detail: the answer */
};

struct factory {
    napi_env env;
    dlock_factory *core;
    struct handle *handles;
    struct handle *orphans; /* collected while the factory was being closed in another thread */
    struct asker asker;
    uv_handle_t *poll;      /* watches the descriptor of events */
    uv_handle_t *async;     /* wakes the loop for answers of the asker */
    struct lookout lookout; /* for the answer of a call that is alone */
    napi_async_context context;
    napi_ref tell;
    napi_async_cleanup_hook_handle hook;
    bool closing, closed;
    unsigned open_handles; /* of libuv */
    unsigned reasons;      /* for the loop to go on */
    unsigned references;   /* the object in JavaScript, its handles, libuv */
};

struct handle {
    struct factory *factory;
    struct handle *before, *behind;
    dlock *lock;
};

/* Opens a factory that reports by `tell`. On failure fills `error` and returns NULL. */
struct factory *factory_open(napi_env env, const char *url, const dlock_factory_options *options, napi_value tell,
                             dlock_error *error);

/* Starts to close; the answer to question `id` tells the end. Takes `question`. */
void factory_close(struct factory *factory, struct question *question);

/* Nobody in JavaScript has the factory any more, so nobody has its locks. */
void factory_drop(struct factory *factory);

/* A call of libdlock has started, whose end is an event. */
void factory_call_started(struct factory *factory);

/* One reason more, or less, for the loop to go on: a call that runs, a hold that somebody cares for. */
void factory_enter_loop(struct factory *factory);
void factory_leave_loop(struct factory *factory);

struct handle *handle_new(struct factory *factory, const char *key, dlock_error *error);

/* Nobody in JavaScript has the handle any more. Blocks for nothing: a hold ends with its ttl. */
void handle_drop(struct handle *handle);

/* A dlock_info as an object, in milliseconds; `key` may be NULL. */
napi_value factory_info(napi_env env, const char *key, const dlock_info *info);

#endif
