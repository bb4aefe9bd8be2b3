/* keeper.c - see keeper.h. The timers are a binary heap. */
#include "keeper.h"

#include "dlock_storage.h"
#include "lease.h"
#include "thread.h"

#include <stdlib.h>
#include <sys/timerfd.h>
#include <unistd.h>

void keeper_init(struct keeper *keeper, pthread_mutex_t *mutex)
{
    *keeper = (struct keeper){.mutex = mutex, .descriptor = -1, .armed = LEASE_NEVER};
}

void keeper_deinit(struct keeper *keeper)
{
    if (keeper->descriptor >= 0)
        close(keeper->descriptor);
    free(keeper->heap);
}

bool keeper_reserve(struct keeper *keeper)
{
    if (keeper->reserved + 1 >= keeper->room) {
        const size_t room = keeper->room ? keeper->room * 2 : 8;
        struct timer **heap = realloc(keeper->heap, room * sizeof(struct timer *));
        if (!heap)
            return false;
        keeper->heap = heap;
        keeper->room = room;
    }
    keeper->reserved++;
    return true;
}

void keeper_unreserve(struct keeper *keeper)
{
    keeper->reserved--;
}

static void place(struct keeper *keeper, struct timer *timer, size_t position)
{
    keeper->heap[position] = timer;
    timer->position = position;
}

static void sift(struct keeper *keeper, struct timer *timer, size_t position)
{
    while (position > 1 && keeper->heap[position / 2]->at > timer->at) {
        place(keeper, keeper->heap[position / 2], position);
        position /= 2;
    }
    for (size_t child; (child = position * 2) <= keeper->count; position = child) {
        if (child < keeper->count && keeper->heap[child + 1]->at < keeper->heap[child]->at)
            child++;
        if (keeper->heap[child]->at >= timer->at)
            break;
        place(keeper, keeper->heap[child], position);
    }
    place(keeper, timer, position);
}

static void take_out(struct keeper *keeper, struct timer *timer)
{
    const size_t position = timer->position;
    struct timer *moved = keeper->heap[keeper->count--];
    timer->position = 0;
    if (moved != timer)
        sift(keeper, moved, position);
}

static void arm(struct keeper *keeper, int64_t at)
{
    keeper->armed = at;
    const int64_t first = at < 1 ? 1 : at; /* zero would disarm it */
    const struct itimerspec when = {.it_value = {.tv_sec = first / 1000000, .tv_nsec = first % 1000000 * 1000}};
    timerfd_settime(keeper->descriptor, TFD_TIMER_ABSTIME, &when, NULL);
}

void keeper_set(struct keeper *keeper, struct timer *timer, int64_t at)
{
    if (at == LEASE_NEVER) {
        if (timer->position)
            take_out(keeper, timer);
        return;
    }
    timer->at = at;
    sift(keeper, timer, timer->position ? timer->position : ++keeper->count);
    if (at < keeper->armed && keeper->started)
        arm(keeper, at);
}

static void *keep(void *arg)
{
    struct keeper *keeper = arg;
    pthread_mutex_lock(keeper->mutex);
    while (!keeper->stopping) {
        const int64_t now = dlock_clock_us();
        if (keeper->count && keeper->heap[1]->at <= now) {
            struct timer *timer = keeper->heap[1];
            take_out(keeper, timer);
            timer->due(timer, now);
            continue;
        }
        keeper->armed = LEASE_NEVER;
        if (keeper->count)
            arm(keeper, keeper->heap[1]->at);
        pthread_mutex_unlock(keeper->mutex);
        uint64_t expirations;
        const ssize_t ignored = read(keeper->descriptor, &expirations, sizeof expirations);
        (void)ignored; /* EINTR or not: what is due is looked up */
        pthread_mutex_lock(keeper->mutex);
    }
    pthread_mutex_unlock(keeper->mutex);
    return NULL;
}

dlock_status keeper_start(struct keeper *keeper)
{
    if (keeper->started)
        return DLOCK_OK;
    if (keeper->descriptor < 0)
        keeper->descriptor = timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC);
    if (keeper->descriptor < 0 || !thread_start(&keeper->thread, keep, keeper))
        return DLOCK_NOMEM;
    keeper->started = true;
    return DLOCK_OK;
}

void keeper_stop(struct keeper *keeper)
{
    pthread_mutex_lock(keeper->mutex);
    const bool started = keeper->started;
    keeper->stopping = true;
    if (started)
        arm(keeper, 0);
    pthread_mutex_unlock(keeper->mutex);
    if (started)
        pthread_join(keeper->thread, NULL);
}
