/* dlock_storage.h - the contract of a storage, for those who write one.
 *
 * A storage keeps one record per key (owner, fence, ttl, expiry) and changes it atomically, on its own clock. It does
 * no retries, waits, threads or logging: the library around it does. A storage is one constant dlock_storage, given
 * to dlock_factory_new, or exported by a module that the library loads for a URL's scheme (see DLOCK_MODULE_SYMBOL).
 * tests/contract checks any storage by its URL.
 */
#ifndef DLOCK_STORAGE_H
#define DLOCK_STORAGE_H

#include "dlock.h"

#ifdef __cplusplus
extern "C" {
#endif

#define DLOCK_STORAGE_API 1u

/* ---- URL: scheme:[//[user[:password]@]host[:port][,host[:port]...]][/path][?name=value&...] -------------------
 * Several of them, with spaces between, name one storage that is spread over several places. */

typedef struct dlock_url_host {
    const char *name; /* without the brackets of an IPv6 address; "" = not given */
    uint16_t port;    /* 0 = not given */
} dlock_url_host;

typedef struct dlock_url_parameter {
    const char *name, *value;
} dlock_url_parameter;

/* A parsed URL; every part is percent-decoded. Parts that are not there are NULL, counts 0. */
typedef struct dlock_url {
    const char *text; /* as the user wrote it; may hold a password, so never part of a message */
    const char *scheme, *user, *password, *path;
    const dlock_url_host *hosts;
    size_t host_count;
    const dlock_url_parameter *parameters;
    size_t parameter_count;
    const struct dlock_url *next; /* of several URLs; only for a storage with DLOCK_STORAGE_SEVERAL_URLS */
} dlock_url;

/* The value of a parameter, or NULL. */
DLOCK_API const char *dlock_url_get(const dlock_url *url, const char *name);

/* ---- requests ------------------------------------------------------------------------------------------------- */

typedef enum dlock_operation {
    DLOCK_ACQUIRE, /* No live record: write owner and ttl; OK, and in info.fence a number greater than every one given
                      before in this storage, also across release, expiry and restart. A live record of the same
                      owner: OK, its fence unchanged, its ttl counted anew (a resend is safe). Else BUSY with the
                      holder in info, in the same round trip; nothing is written. */
    DLOCK_EXTEND,  /* A live record of this owner: its ttl counted anew; OK. Else LOST; nothing is written: an expired
                      record never comes back. */
    DLOCK_RELEASE, /* A live record of this owner: gone; OK. Else LOST; a record of somebody else is untouched. Leaves
                      nothing that grows for ever. */
    DLOCK_INSPECT, /* OK, and in info the live record; an empty owner if there is none. */
    DLOCK_BREAK,   /* A live record, whoever owns it: gone; OK, and info says what it was. Else LOST. */
} dlock_operation;

/* One thing asked of a storage, and its answer. A transport failure is UNAVAILABLE: it may have happened. */
typedef struct dlock_request {
    dlock_operation operation;
    uint32_t ttl_ms;   /* of ACQUIRE and EXTEND */
    const char *key;   /* 1 to 512 bytes of valid UTF-8 */
    const char *owner; /* of ACQUIRE, EXTEND, RELEASE */

    dlock_status status; /* UNAVAILABLE when it is handed over, and the rest of the answer empty */
    bool not_done;       /* with UNAVAILABLE or `contended`: it certainly did not happen, and will not */
    bool contended;      /* an ACQUIRE that failed, of a storage that is spread over several places: some of them may
                            have granted it, others not, and they were told to take it back. This uses up the owner;
                            the next attempt comes under a new one, after a pause by chance */
    bool stray; /* an ACQUIRE or EXTEND that is OK, of a storage that is spread over several places: some of them may
                   write this owner's record later, also when others had the key in between */
    dlock_info info;
    char message[DLOCK_MESSAGE_SIZE]; /* when the status is not OK, BUSY or LOST: what the storage answered */
} dlock_request;

typedef struct dlock_storage_options {
    uint32_t timeout_ms; /* within which open and execute return */
    void *arg;           /* of dlock_factory_new; NULL for a storage that was found by its URL */
    const char *folder;  /* that the program was in when it opened the factory: relative paths mean it, wherever the
                            program is when a session is opened. NULL = it could not be told */
} dlock_storage_options;

/* ---- the storage ------------------------------------------------------------------------------------------------ */

enum {
    DLOCK_STORAGE_FENCES = 1u << 0,       /* gives fencing numbers */
    DLOCK_STORAGE_SEVERAL_URLS = 1u << 1, /* may be spread over several URLs: see dlock_url.next */
};

struct dlock_storage {
    unsigned api;                  /* DLOCK_STORAGE_API */
    const char *name;              /* for messages */
    const char *const *schemes;    /* of its URLs; NULL ends the list */
    const char *const *parameters; /* that its URLs may have, besides the library's own; NULL ends the list.
                                      No list (NULL) = any: the storage checks them itself in open */
    unsigned capabilities;         /* DLOCK_STORAGE_... */
    unsigned max_sessions;         /* that the callers' threads share; 1 if more of them gain nothing */
    size_t session_size;

    /* A session is one connection, used by one thread at a time. The library allocates it, zeroed; `url` and `options`
     * live longer than it does. After a failed open, close is called all the same.
     * Errors: UNAVAILABLE (nothing reached), REFUSED (access, layout, version), INVALID (parameter), NOMEM. */
    dlock_status (*open)(void *session, const dlock_url *url, const dlock_storage_options *options, dlock_error *error);
    void (*close)(void *session);

    /* Carries out `count` (at least 1) independent requests, each with its own answer, in as few round trips as can
     * be; those of one key in their order. Returns within the operation timeout. After an UNAVAILABLE answer the
     * library closes the session and opens a new one when it needs it. */
    void (*execute)(void *session, dlock_request *const *requests, size_t count);

    /* The same in steps, for those who must not wait. All three or none (NULL); then a thread executes for them.
     * begin sends the requests if it can do that without waiting; false = it cannot, nothing was sent. The requests
     * stay where they are until proceed says true: all of them are answered. It takes what is there or, if it is to
     * `wait`, what comes within the operation timeout, which counts from begin; then it says true in any case. Nothing
     * else is asked of the session in between. When nothing is asked, it may be called without `wait`, and notices a
     * connection that is gone. */
    bool (*begin)(void *session, dlock_request *const *requests, size_t count);
    bool (*proceed)(void *session, bool wait);
    int (*begun_fd)(void *session); /* readable when proceed has something to do; -1 = the connection is gone */

    /* Calls `each` for every live record whose key starts with `prefix` (never NULL), in any order, until it returns
     * false. NULL = UNSUPPORTED. */
    dlock_status (*list)(void *session, const char *prefix,
                         bool (*each)(void *arg, const char *key, const dlock_info *info), void *arg,
                         dlock_error *error);

    /* Calls `warn` for each setting or circumstance that weakens locks in this storage. NULL = none are known. */
    dlock_status (*check)(void *session, void (*warn)(void *arg, const char *text), void *arg, dlock_error *error);

    /* To be told that a key may have become free. All four or none (NULL); then waiters poll. They are called on a
     * session that does nothing else. A hint may be wrong, late or lost; what it must not be is late as a rule. */
    int (*watch_fd)(void *session); /* readable when watch_read has something to read; -1 = cannot watch now */
    dlock_status (*watch)(void *session, const char *key, dlock_error *error);
    void (*unwatch)(void *session, const char *key);
    /* Reads what is there without blocking; calls `hint` for each key, or with NULL for "any of them". */
    dlock_status (*watch_read)(void *session, void (*hint)(void *arg, const char *key), void *arg, dlock_error *error);
};

/* ---- helpers -------------------------------------------------------------------------------------------------- */

/* Fill an error (which may be NULL) or a request's answer; return `status`. */
DLOCK_API dlock_status dlock_error_set(dlock_error *error, dlock_status status, const char *format, ...)
    DLOCK_PRINTF(3, 4);
DLOCK_API dlock_status dlock_request_fail(dlock_request *request, dlock_status status, const char *format, ...)
    DLOCK_PRINTF(3, 4);

/* Now, in microseconds of CLOCK_BOOTTIME: runs through suspend, is never set. Means nothing after a reboot. */
DLOCK_API int64_t dlock_clock_us(void);

/* ---- loadable modules ------------------------------------------------------------------------------------------- */

/* A module is a shared object `NAME.so` in the modules folder ($libdir/dlock, or the folders of $DLOCK_MODULE_PATH,
 * with colons between, unless the program is set-uid), where NAME is the URL's scheme or, for the storages of this
 * project, what src/storages.c says. It exports one symbol: */
#define DLOCK_MODULE_SYMBOL "dlock_module"
typedef const dlock_storage *dlock_module_function(void);

#ifdef __cplusplus
}
#endif

#endif
