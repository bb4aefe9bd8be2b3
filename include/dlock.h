/* dlock.h - locks shared between processes and machines, kept in a database.
 *
 * The API of libdlock, and the only header that most programs include:
 *
 *     dlock_factory *factory;   a storage, opened; makes locks; thread-safe
 *     dlock         *lock;      one key; acquired, released, usable again
 *
 * A lock is a lease: its holder has it for a time to live (ttl) and may extend it. The storage decides, on its
 * own clock, who holds a key; the holder counts its own, shorter validity on a clock that runs through suspend.
 *
 * Conventions of every function:
 * - It returns a dlock_status. On failure it fills `error` (if not NULL) and leaves every other output untouched.
 * - Times are milliseconds unless a name says otherwise. Strings are UTF-8 and end with NUL.
 * - Threads: a factory may be used by any threads at once. So may a lock, but only one acquire, extend, release,
 *   adopt or detach of it runs at a time; a second one that meets it is refused with DLOCK_INVALID. dlock_cancel
 *   and the functions that only look (dlock_key, _fence, _remaining_ms, _is_held) may be called at any time.
 *   Nothing may run on a lock, or on a factory, while it is freed or closed.
 * - Processes: after fork() the child may only free locks and close factories, which releases nothing and sends
 *   nothing; everything else gets DLOCK_INVALID there.
 * - The library never calls back from a thread of its own, and installs no signal handler.
 */
#ifndef DLOCK_H
#define DLOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define DLOCK_API          __attribute__((visibility("default")))
#define DLOCK_PRINTF(f, a) __attribute__((format(printf, f, a)))
#else
#define DLOCK_API
#define DLOCK_PRINTF(f, a)
#endif

/* Status of every call: X(name, number, what it means). Numbers are part of the ABI and never change. */
#define DLOCK_STATUS_MAP(X)                                                                                            \
    X(OK, 0, "done")                                                                                                   \
    X(BUSY, 1, "somebody else holds the lock")                                                                         \
    X(LOST, 2, "the lock is not, or no longer, held by this owner")                                                    \
    X(UNAVAILABLE, 3, "the storage gave no answer; the request may have been carried out")                             \
    X(REFUSED, 4, "the storage refuses: access, layout or version")                                                    \
    X(INVALID, 5, "the call or one of its arguments is wrong")                                                         \
    X(UNSUPPORTED, 6, "this storage cannot do that")                                                                   \
    X(NOMEM, 7, "out of memory, threads or descriptors")                                                               \
    X(CANCELLED, 8, "the call was cancelled")

typedef enum dlock_status {
#define DLOCK_STATUS_ENUM(name, number, text) DLOCK_##name = number,
    DLOCK_STATUS_MAP(DLOCK_STATUS_ENUM)
#undef DLOCK_STATUS_ENUM
} dlock_status;

/* Limits. A value outside of them is DLOCK_INVALID, with the limit in the message. */
#define DLOCK_KEY_MAX      512        /* bytes of a key: 1 to 512 of UTF-8 */
#define DLOCK_OWNER_SIZE   112        /* bytes of an owner token with its NUL */
#define DLOCK_MACHINE_MAX  64         /* bytes of a machine name: letters, digits, '.', '-', '_' */
#define DLOCK_MESSAGE_SIZE 512        /* bytes of a message with its NUL */
#define DLOCK_TTL_MIN_MS   10u        /* 10 ms */
#define DLOCK_TTL_MAX_MS   86400000u  /* 24 h */
#define DLOCK_WAIT_FOREVER UINT32_MAX /* for dlock_acquire_options.wait_ms */

/* Defaults, taken where an option is zero. */
#define DLOCK_DEFAULT_TTL_MS      10000u
#define DLOCK_DEFAULT_RETRIES     3u
#define DLOCK_DEFAULT_INTERVAL_MS 1000u
#define DLOCK_DEFAULT_TIMEOUT_MS  5000u

typedef struct dlock_factory dlock_factory;
typedef struct dlock dlock;
typedef struct dlock_storage dlock_storage; /* dlock_storage.h */

/* What a storage says of a key, by its own clock, at the moment of its answer. */
typedef struct dlock_info {
    char owner[DLOCK_OWNER_SIZE]; /* who holds it: machine:pid:random; "" = nobody */
    uint64_t fence;               /* the holder's fencing number; 0 = the storage has none */
    uint32_t ttl_ms;              /* what the holder last asked for; 0 = not known */
    int64_t held_ms;              /* for how long it has been held; -1 = not known */
    int64_t remaining_ms;         /* it ends then if nobody extends it; -1 = not known */
} dlock_info;

/* Why a call failed. The message names what was asked, of which storage, and its answer; never a password. */
typedef struct dlock_error {
    dlock_status status;
    char message[DLOCK_MESSAGE_SIZE];
    dlock_info holder; /* with DLOCK_BUSY: who holds the key; else empty */
} dlock_error;

/* The status as a short word ("BUSY") and as a sentence. Never NULL, also for a number that is no status. */
DLOCK_API const char *dlock_status_name(dlock_status status);
DLOCK_API const char *dlock_status_text(dlock_status status);

/* The version of the library in use, such as "0.1.0". */
DLOCK_API const char *dlock_version(void);

/* ---- factory ------------------------------------------------------------------------------------------------ */

typedef struct dlock_factory_options {
    size_t size;         /* set by DLOCK_FACTORY_OPTIONS_INIT */
    const char *machine; /* first part of owner tokens; NULL = the host name */
    uint32_t timeout_ms; /* of one operation of the storage: 10 to 600 000; 0 = 5 000 */
    uint32_t ttl_ms;     /* defaults for dlock_acquire_options of the same names */
    uint32_t retries;
    uint32_t interval_ms;
} dlock_factory_options;
#define DLOCK_FACTORY_OPTIONS_INIT                                                                                     \
    {                                                                                                                  \
        sizeof(dlock_factory_options), NULL, 0, 0, 0, 0                                                                \
    }

/* Opens a factory over the storage that `url` names: sqlite:/path/locks.db, ... A URL of NULL or "" is $DLOCK_STORE
 * or, if that is empty, `sqlite:`, the embedded storage in its default place. Several URLs with spaces between name one
 * storage that is spread over several places, such as the nodes of a Redlock quorum. Nothing is connected yet: the
 * first request does that. `options` may be NULL. The caller closes *ret by dlock_factory_close. Errors: INVALID (URL,
 * option), UNSUPPORTED (no such storage), REFUSED (its module cannot be loaded), NOMEM. */
DLOCK_API dlock_status dlock_factory_open(const char *url, const dlock_factory_options *options, dlock_factory **ret,
                                          dlock_error *error);

/* The same over a storage of the caller's own (see dlock_storage.h), which must outlive the factory; `arg` is handed
 * to its open function. */
DLOCK_API dlock_status dlock_factory_new(const dlock_storage *storage, void *arg, const dlock_factory_options *options,
                                         dlock_factory **ret, dlock_error *error);

/* Cancels what runs, releases every lock that is still held, ends the library's threads and connections. Locks of
 * the factory may be freed before or after; after it they answer DLOCK_INVALID to everything else. Takes at most
 * about two operation timeouts. NULL is allowed. */
DLOCK_API void dlock_factory_close(dlock_factory *factory);

/* What `factory` is opened over, for messages: the URL, in which *** stands for a password. Lives as long as the
 * factory. */
DLOCK_API const char *dlock_factory_where(const dlock_factory *factory);

typedef struct dlock_stats {
    size_t size;       /* set by DLOCK_STATS_INIT */
    uint64_t requests; /* that the storage was given to carry out: each attempt to acquire, extend, renewal, release,
                          look at a key, break; those that got no answer too */
    uint64_t batches;  /* that they travelled in; a batch takes as few round trips as the storage allows */
} dlock_stats;
#define DLOCK_STATS_INIT                                                                                               \
    {                                                                                                                  \
        sizeof(dlock_stats), 0, 0                                                                                      \
    }

/* What the factory has cost its storage since it was opened. Connecting, watching, dlock_list and dlock_check are not
 * counted. Errors: INVALID. */
DLOCK_API dlock_status dlock_factory_stats(dlock_factory *factory, dlock_stats *ret, dlock_error *error);

/* ---- lock --------------------------------------------------------------------------------------------------- */

/* Makes a lock for `key`, which is copied. Asks nothing of the storage. Freed by dlock_free.
 * Errors: INVALID (key), NOMEM. */
DLOCK_API dlock_status dlock_create(dlock_factory *factory, const char *key, dlock **ret, dlock_error *error);

/* Frees a lock. If it is held, it is released first (one round trip); if an asynchronous call of it runs, that is
 * cancelled, and no event of this lock is reported any more. NULL is allowed. */
DLOCK_API void dlock_free(dlock *lock);

typedef struct dlock_acquire_options {
    size_t size;          /* set by DLOCK_ACQUIRE_OPTIONS_INIT */
    uint32_t ttl_ms;      /* time to live: 10 ms to 24 h; 0 = the factory's default, 10 s */
    uint32_t retries;     /* attempts in all: 3 = three attempts and two pauses; 0 = default, 3. Ignored if wait_ms */
    uint32_t interval_ms; /* pause between two attempts; with wait_ms, the longest pause, or 32 to 64 times that while
                             the storage tells of releases; 0 = default, 1 s */
    uint32_t wait_ms;     /* bound the acquire by time instead, and wait in line for a wake-up;
                             0 = bound by retries; DLOCK_WAIT_FOREVER = no bound */
    uint32_t margin_ms;   /* LOST is reported at least so long before validity ends: up to half of the ttl;
                             0 = a tenth of the ttl */
    bool renew;           /* extend the lock by itself, at a third of the ttl, until it is released */
} dlock_acquire_options;
#define DLOCK_ACQUIRE_OPTIONS_INIT                                                                                     \
    {                                                                                                                  \
        sizeof(dlock_acquire_options), 0, 0, 0, 0, 0, false                                                            \
    }

/* Takes the lock. With retries: tries, pauses for the interval, tries again; the last failure returns at once. With
 * wait_ms: waits in line behind the other waiters of this process, wakes when the lock is released or its ttl is
 * over, and makes a last attempt at the deadline (the answer to which may take one operation timeout more).
 * Every acquire has a new owner token. `options` may be NULL.
 * Errors: BUSY (error->holder says who), UNAVAILABLE (given up without an answer; what the attempt may have left
 * behind is released in the background, and ends with its ttl at the latest), REFUSED, INVALID (also: held already,
 * or another call of this lock runs), CANCELLED, NOMEM. */
DLOCK_API dlock_status dlock_acquire(dlock *lock, const dlock_acquire_options *options, dlock_error *error);

/* Lets the lock live for ttl_ms from now (0 = as acquired), if it is still held. Renewal goes on with the new ttl.
 * Errors: LOST (nothing was extended), UNAVAILABLE (not known; validity is the shorter of both), REFUSED, INVALID. */
DLOCK_API dlock_status dlock_extend(dlock *lock, uint32_t ttl_ms, dlock_error *error);

/* Gives the lock up. Ends renewal first. Whatever the answer, the lock is not held afterwards and usable again.
 * Errors: LOST (it had ended before; nothing of a later holder was touched), UNAVAILABLE (the release is repeated in
 * the background, until the ttl is over), REFUSED, INVALID (not held). */
DLOCK_API dlock_status dlock_release(dlock *lock, dlock_error *error);

/* Ends an acquire of this lock that is running, in whatever thread or asynchronously, with CANCELLED, unless it is
 * decided already. Harmless otherwise. */
DLOCK_API void dlock_cancel(dlock *lock);

/* Takes over a hold by its owner token, for example one made by another process. Asks nothing of the storage: whether
 * the owner still holds the key is told by the next extend or release. Until an extend, the remaining time is 0.
 * Errors: INVALID (held already, or not an owner token). */
DLOCK_API dlock_status dlock_adopt(dlock *lock, const char *owner, dlock_error *error);

/* Forgets the hold without releasing it: renewal ends, the key stays taken until its ttl is over or somebody adopts
 * the owner. A renewal that is on its way may still arrive, and count the old ttl from then: let it be answered before
 * somebody else extends for longer. Errors: INVALID (not held). */
DLOCK_API dlock_status dlock_detach(dlock *lock, dlock_error *error);

DLOCK_API const char *dlock_key(const dlock *lock);      /* lives as long as the lock */
DLOCK_API bool dlock_is_held(const dlock *lock);         /* held, valid and not reported LOST */
DLOCK_API int64_t dlock_remaining_ms(const dlock *lock); /* of validity; 0 = not held, or over. After a LOST that came
                                                            ahead of its end: the time left to stop in */

/* The fencing number of the hold: greater than that of every earlier hold of any key in this storage. Pass it to the
 * resource, and let that refuse smaller ones. 0 = not held, adopted, or the storage has none. */
DLOCK_API uint64_t dlock_fence(const dlock *lock);

/* The owner token of the hold, or of the last one; "" before the first. Valid until the next acquire or adopt. */
DLOCK_API const char *dlock_owner(const dlock *lock);

/* ---- looking, and force ------------------------------------------------------------------------------------- */

/* Who holds `key`? OK and an empty owner if nobody. Errors: UNAVAILABLE, REFUSED, INVALID, NOMEM. */
DLOCK_API dlock_status dlock_inspect(dlock_factory *factory, const char *key, dlock_info *ret, dlock_error *error);

/* Calls `each` in this thread for every held key that starts with `prefix` (NULL = all), ordered by key, until it
 * returns false. It may call the library. Errors: UNAVAILABLE, REFUSED, UNSUPPORTED, INVALID, NOMEM. */
DLOCK_API dlock_status dlock_list(dlock_factory *factory, const char *prefix,
                                  bool (*each)(void *arg, const char *key, const dlock_info *info), void *arg,
                                  dlock_error *error);

/* Takes `key` away from whoever holds it; the holder learns it by LOST. LOST = nobody held it. `broken` (may be NULL)
 * tells whose hold it was. Errors: UNAVAILABLE, REFUSED, INVALID, NOMEM. */
DLOCK_API dlock_status dlock_break(dlock_factory *factory, const char *key, dlock_info *broken, dlock_error *error);

/* Asks the storage for settings and circumstances that weaken a lock, and calls `warn` in this thread for each.
 * Errors: as dlock_inspect. */
DLOCK_API dlock_status dlock_check(dlock_factory *factory, void (*warn)(void *arg, const char *text), void *arg,
                                   dlock_error *error);

/* ---- asynchronous use, and loss ------------------------------------------------------------------------------ */

/* X(name): what an event tells. */
#define DLOCK_EVENT_MAP(X)                                                                                             \
    X(ACQUIRED) /* of dlock_acquire_start */                                                                           \
    X(EXTENDED) /* of dlock_extend_start */                                                                            \
    X(RELEASED) /* of dlock_release_start */                                                                           \
    X(FAILED)   /* any of the three; `error` says why */                                                               \
    X(LOST)     /* the lock is lost, or will be within its margin; once per hold */

typedef enum dlock_event_type {
#define DLOCK_EVENT_ENUM(name) DLOCK_EVENT_##name,
    DLOCK_EVENT_MAP(DLOCK_EVENT_ENUM)
#undef DLOCK_EVENT_ENUM
} dlock_event_type;

typedef struct dlock_event {
    dlock_event_type type;
    dlock *lock;
    void *tag;         /* as given at the start; NULL with LOST */
    dlock_error error; /* of FAILED and LOST; status OK otherwise */
} dlock_event;

/* Start an acquire, extend or release and return; its end is an event. Arguments as of the blocking functions, which
 * are refused with INVALID while it runs. Errors of the start itself (no event follows): INVALID, NOMEM. */
DLOCK_API dlock_status dlock_acquire_start(dlock *lock, const dlock_acquire_options *options, void *tag,
                                           dlock_error *error);
DLOCK_API dlock_status dlock_extend_start(dlock *lock, uint32_t ttl_ms, void *tag, dlock_error *error);
DLOCK_API dlock_status dlock_release_start(dlock *lock, void *tag, dlock_error *error);

/* A descriptor that is readable while an event waits, or an answer or a hint that dlock_factory_events has to read
 * first; for poll, epoll and the like. Owned by the factory; do not read it. -1 = out of descriptors. */
DLOCK_API int dlock_factory_fd(dlock_factory *factory);

/* Takes up to `max` waiting events, oldest first, and returns how many, which may be none also when the descriptor was
 * readable. Never blocks. Call it soon then: calls that are started are carried out in here, without another thread.
 * LOST is reported for locks that are renewed or were acquired asynchronously: at once when the storage says that
 * the owner no longer holds the key, else at the margin before validity ends. */
DLOCK_API size_t dlock_factory_events(dlock_factory *factory, dlock_event *ret, size_t max);

#ifdef __cplusplus
}
#endif

#endif
