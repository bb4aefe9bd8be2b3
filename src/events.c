/* events.c - see events.h. */
#include "events.h"

#include <sys/eventfd.h>
#include <unistd.h>

void events_init(struct events *events)
{
    *events = (struct events){.descriptor = -1};
}

void events_deinit(struct events *events)
{
    if (events->descriptor >= 0)
        close(events->descriptor);
}

void events_push(struct events *events, struct event *event)
{
    /* It stays readable until the last event is taken. */
    if (!events->first && events->descriptor >= 0)
        eventfd_write(events->descriptor, 1);
    event->next = NULL;
    event->queued = true;
    if (events->last)
        events->last->next = event;
    else
        events->first = event;
    events->last = event;
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
    eventfd_t ignored;
    if (!events->first && events->descriptor >= 0)
        eventfd_read(events->descriptor, &ignored);
}

void events_drop(struct events *events, struct event *event)
{
    if (!event->queued)
        return;
    struct event *before = NULL;
    for (struct event *e = events->first; e != event; e = e->next)
        before = e;
    unlink_behind(events, before, event);
}

size_t events_take(struct events *events, dlock_event *ret, size_t max)
{
    size_t count = 0;
    while (events->first && count < max) {
        struct event *event = events->first;
        unlink_behind(events, NULL, event);
        event->take(event, &ret[count++]);
    }
    return count;
}

int events_descriptor(struct events *events)
{
    if (events->descriptor < 0)
        events->descriptor = eventfd(events->first ? 1 : 0, EFD_CLOEXEC | EFD_NONBLOCK);
    return events->descriptor;
}
