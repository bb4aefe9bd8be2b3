/* asker.c - see asker.h. */
#include "asker.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

void asker_init(struct asker *asker, dlock_factory *core, void (*tell)(void *arg), void *arg)
{
    *asker = (struct asker){.core = core, .tell = tell, .arg = arg};
    pthread_mutex_init(&asker->mutex, NULL);
    pthread_cond_init(&asker->wake, NULL);
}

void asker_deinit(struct asker *asker)
{
    for (struct question *question; (question = asker_take(asker));)
        question_free(question);
    pthread_cond_destroy(&asker->wake);
    pthread_mutex_destroy(&asker->mutex);
}

struct question *question_new(enum question_kind kind, double id, const char *text)
{
    struct question *question = calloc(1, sizeof *question + strlen(text) + 1);
    if (!question)
        return NULL;
    question->kind = kind;
    question->id = id;
    strcpy(question->text, text);
    return question;
}

void question_free(struct question *question)
{
    for (size_t i = 0; i < question->count; i++)
        free(question->entries[i].key);
    free(question->entries);
    free(question);
}

static dlock_status out_of_memory(dlock_error *error)
{
    *error = (dlock_error){.status = DLOCK_NOMEM, .message = "out of memory or threads"};
    return DLOCK_NOMEM;
}

static bool add_entry(void *arg, const char *key, const dlock_info *info)
{
    struct question *question = arg;
    if (question->count == question->room) {
        const size_t room = question->room ? question->room * 2 : 64;
        struct entry *entries = realloc(question->entries, room * sizeof *entries);
        if (!entries) {
            question->status = out_of_memory(&question->error);
            return false;
        }
        question->entries = entries;
        question->room = room;
    }
    struct entry *entry = &question->entries[question->count];
    *entry = (struct entry){.key = strdup(key), .info = *info};
    if (!entry->key) {
        question->status = out_of_memory(&question->error);
        return false;
    }
    question->count++;
    return true;
}

static void ask(dlock_factory *core, struct question *question)
{
    dlock_status status = DLOCK_OK;
    switch (question->kind) {
    case QUESTION_INSPECT:
        status = dlock_inspect(core, question->text, &question->info, &question->error);
        break;
    case QUESTION_LIST:
        status = dlock_list(core, question->text, add_entry, question, &question->error);
        break;
    case QUESTION_BREAK:
        status = dlock_break(core, question->text, &question->info, &question->error);
        break;
    case QUESTION_CLOSE:
        dlock_factory_close(core);
        break;
    }
    if (status != DLOCK_OK)
        question->status = status;
}

static void put(struct question **first, struct question **last, struct question *question)
{
    question->next = NULL;
    if (*first)
        (*last)->next = question;
    else
        *first = question;
    *last = question;
}

static void *run(void *arg)
{
    struct asker *asker = arg;
    bool closed = false;
    pthread_mutex_lock(&asker->mutex);
    while (!closed) {
        struct question *question = asker->first;
        if (!question) {
            pthread_cond_wait(&asker->wake, &asker->mutex);
            continue;
        }
        asker->first = question->next;
        closed = question->kind == QUESTION_CLOSE;
        if (asker->stopping && !closed) {
            question->status = DLOCK_CANCELLED;
            question->error = (dlock_error){.status = DLOCK_CANCELLED, .message = "the factory is closed"};
        } else {
            pthread_mutex_unlock(&asker->mutex);
            ask(asker->core, question);
            pthread_mutex_lock(&asker->mutex);
        }
        put(&asker->answered, &asker->last_answered, question);
        asker->tell(asker->arg);
    }
    pthread_mutex_unlock(&asker->mutex);
    return NULL;
}

/* Signals are for the threads of node. */
static bool start(struct asker *asker)
{
    if (asker->started)
        return true;
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    asker->started = pthread_create(&asker->thread, NULL, run, asker) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return asker->started;
}

bool asker_post(struct asker *asker, struct question *question)
{
    if (!start(asker))
        return false;
    pthread_mutex_lock(&asker->mutex);
    asker->stopping = asker->stopping || question->kind == QUESTION_CLOSE;
    put(&asker->first, &asker->last, question);
    pthread_cond_signal(&asker->wake);
    pthread_mutex_unlock(&asker->mutex);
    return true;
}

struct question *asker_take(struct asker *asker)
{
    pthread_mutex_lock(&asker->mutex);
    struct question *question = asker->answered;
    if (question)
        asker->answered = question->next;
    pthread_mutex_unlock(&asker->mutex);
    return question;
}

void asker_join(struct asker *asker)
{
    if (asker->started)
        pthread_join(asker->thread, NULL);
    asker->started = false;
}
