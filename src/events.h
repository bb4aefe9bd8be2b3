/* events.h - the events of one factory that nobody has taken yet, and the descriptor that tells of them. */
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
    int descriptor; /* eventfd; -1 until somebody asks for it */
};

void events_init(struct events *events);
void events_deinit(struct events *events);

void events_push(struct events *events, struct event *event);

/* Takes it out again if it is there. */
void events_drop(struct events *events, struct event *event);

size_t events_take(struct events *events, dlock_event *ret, size_t max);
int events_descriptor(struct events *events);

#endif
