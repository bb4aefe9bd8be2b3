/* events.c - see events.h. */
#include "events.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

void events_init(struct events *events)
{
    *events = (struct events){.descriptor = -1, .signal = -1};
}

void events_deinit(struct events *events)
{
    if (events->descriptor < 0)
        return;
    close(events->descriptor);
    close(events->signal);
}

/* It is readable until the last event is taken. */
static void tell(struct events *events)
{
    const bool wanted = events->first != NULL;
    if (events->descriptor < 0 || events->hushed || wanted == events->signalled)
        return;
    eventfd_t ignored;
    if (wanted)
        eventfd_write(events->signal, 1);
    else
        eventfd_read(events->signal, &ignored);
    events->signalled = wanted;
}

void events_push(struct events *events, struct event *event)
{
    event->next = NULL;
    event->queued = true;
    if (events->last)
        events->last->next = event;
    else
        events->first = event;
    events->last = event;
    tell(events);
}

static void unlink_behind(struct events *events, struct event *before, struct event *event)
{
    if (before)
        before->next = event->next;
    else
        events->first = event->next;
    if (events->last == event)
        events->last = before;
    event->queued = false;
}

void events_drop(struct events *events, struct event *event)
{
    if (!event->queued)
        return;
    struct event *before = NULL;
    for (struct event *e = events->first; e != event; e = e->next)
        before = e;
    unlink_behind(events, before, event);
    tell(events);
}

void events_hush(struct events *events)
{
    events->hushed = true;
}

size_t events_take(struct events *events, dlock_event *ret, size_t max)
{
    size_t count = 0;
    while (events->first && count < max) {
        struct event *event = events->first;
        unlink_behind(events, NULL, event);
        event->take(event, &ret[count++]);
    }
    events->hushed = false;
    tell(events);
    return count;
}

static bool watch(int descriptor, int watched)
{
    struct epoll_event event = {.events = EPOLLIN};
    return epoll_ctl(descriptor, EPOLL_CTL_ADD, watched, &event) == 0 || errno == EEXIST;
}

int events_descriptor(struct events *events)
{
    if (events->descriptor >= 0)
        return events->descriptor;
    const int descriptor = epoll_create1(EPOLL_CLOEXEC), signal = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (descriptor < 0 || signal < 0 || !watch(descriptor, signal)) {
        if (descriptor >= 0)
            close(descriptor);
        if (signal >= 0)
            close(signal);
        return -1;
    }
    events->descriptor = descriptor;
    events->signal = signal;
    tell(events);
    return descriptor;
}

bool events_watch(struct events *events, int descriptor)
{
    return events->descriptor >= 0 && watch(events->descriptor, descriptor);
}

void events_unwatch(struct events *events, int descriptor)
{
    epoll_ctl(events->descriptor, EPOLL_CTL_DEL, descriptor, NULL);
}
