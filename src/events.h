/* events.h - the events of one factory that nobody has taken yet, and the descriptor that tells of them, or of
 * answers that wait to be read. */
#ifndef DLOCK_SRC_EVENTS_H
#define DLOCK_SRC_EVENTS_H

#include "dlock.h"

/* Part of what the event is about. */
struct event {
    struct event *next;
    bool queued;
    void (*take)(struct event *event, dlock_event *ret); /* fills *ret; the event may be gone afterwards */
};

/* Every function is called with the mutex of the factory held. */
struct events {
    struct event *first, *last;
    int descriptor; /* epoll, of `signal` and what is watched; -1 until somebody asks for it */
    int signal;     /* eventfd */
    bool signalled; /* it is readable */
    bool hushed;    /* somebody is about to take what comes */
};

void events_init(struct events *events);
void events_deinit(struct events *events);

void events_push(struct events *events, struct event *event);

/* Takes it out again if it is there. */
void events_drop(struct events *events, struct event *event);

/* Until the next events_take the descriptor does not tell of new events. */
void events_hush(struct events *events);

size_t events_take(struct events *events, dlock_event *ret, size_t max);
int events_descriptor(struct events *events);

/* The descriptor is readable also while this one is, until that is closed. False if there is none. */
bool events_watch(struct events *events, int descriptor);

/* From now on it is not. */
void events_unwatch(struct events *events, int descriptor);

#endif
