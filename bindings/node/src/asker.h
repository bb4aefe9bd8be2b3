/* asker.h - a thread for the calls of dlock.h that block: look, force, and close.
 *
 * One per factory, started by the first such call; so neither the event loop nor a thread of libuv's pool waits for a
 * storage. Questions are asked in their order. Knows nothing of JavaScript: factory.c takes the answers. */
#ifndef DLOCK_NODE_ASKER_H
#define DLOCK_NODE_ASKER_H

#include <dlock.h>

#include <pthread.h>

enum question_kind { QUESTION_INSPECT, QUESTION_LIST, QUESTION_BREAK, QUESTION_CLOSE };

struct entry {
    char *key;
    dlock_info info;
};

struct question {
    struct question *next;
    enum question_kind kind;
    double id; /* names it in JavaScript */
    dlock_status status;
    dlock_error error;
    dlock_info info;       /* INSPECT, BREAK */
    struct entry *entries; /* LIST */
    size_t count, room;
    char text[]; /* the key, or its beginning */
};

struct asker {
    pthread_mutex_t mutex;
    pthread_cond_t wake;
    pthread_t thread;
    bool started, stopping;
    struct question *first, *last; /* not asked yet */
    struct question *answered, *last_answered;
    dlock_factory *core;
    void (*tell)(void *arg); /* called in the thread when an answer is there */
    void *arg;
};

void asker_init(struct asker *asker, dlock_factory *core, void (*tell)(void *arg), void *arg);
void asker_deinit(struct asker *asker);

/* NULL = no memory. Freed by question_free. */
struct question *question_new(enum question_kind kind, double id, const char *text);
void question_free(struct question *question);

/* Takes over `question`. One that closes is the last: the thread ends with it, and those before it that were not asked
 * yet end as cancelled. Returns false if there is no thread to be had; then the question is still the caller's. */
bool asker_post(struct asker *asker, struct question *question);

/* The oldest answer, to be freed by the caller; NULL = none. */
struct question *asker_take(struct asker *asker);

/* Waits for the thread, which was told to close. */
void asker_join(struct asker *asker);

#endif
