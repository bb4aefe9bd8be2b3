/* core.c - see core.h. */
#include "core.h"

#include "url.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#define SHOWN_KEY 80 /* bytes of a key in a message */

/* Counted by the child of each fork(): asking for the process id instead would be a system call at every call. */
static unsigned forks;

static void count_fork(void)
{
    forks++;
}

static void watch_forks(void)
{
    pthread_atfork(NULL, NULL, count_fork);
}

void core_init(struct dlock_factory *core, const struct watcher_callbacks *tell)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, watch_forks);
    core->forks = forks;
    core->pid = getpid();
    owner_begin(core->owner_beginning, core->machine, core->pid);
    core->references = 1;
    if (getrandom(&core->chance, sizeof core->chance, 0) != sizeof core->chance || core->chance == 0)
        core->chance = (uint64_t)dlock_clock_us() | 1;
    pthread_mutex_init(&core->mutex, NULL);
    exchange_init(&core->exchange, &core->mutex, &core->source);
    keeper_init(&core->keeper, &core->mutex);
    courier_init(&core->renewals, &core->mutex, &core->source);
    errands_init(&core->errands, &core->mutex, &core->source, &core->keeper, &core->events);
    watcher_init(&core->watcher, &core->mutex, &core->lines, &core->source, &core->events, &core->keeper, tell);
    events_init(&core->events);
}

void core_stop(struct dlock_factory *core)
{
    errands_stop(&core->errands);
    courier_stop(&core->renewals);
    keeper_stop(&core->keeper);
    watcher_stop(&core->watcher);
}

static void free_memory(struct dlock_factory *core)
{
    url_free(core->url);
    free(core->where);
    free(core->folder);
    free(core);
}

void core_free_forked(struct dlock_factory *core)
{
    if (--core->references == 0)
        free_memory(core);
}

void core_lock(struct dlock_factory *core)
{
    pthread_mutex_lock(&core->mutex);
}

void core_unlock(struct dlock_factory *core)
{
    const bool last = core->references == 0;
    pthread_mutex_unlock(&core->mutex);
    if (!last)
        return;
    exchange_deinit(&core->exchange);
    keeper_deinit(&core->keeper);
    courier_deinit(&core->renewals);
    errands_deinit(&core->errands);
    watcher_deinit(&core->watcher);
    events_deinit(&core->events);
    lines_deinit(&core->lines);
    pthread_mutex_destroy(&core->mutex);
    free_memory(core);
}

bool core_forked(const struct dlock_factory *core)
{
    return core->forks != forks;
}

dlock_status core_enter(struct dlock_factory *core, dlock_error *error)
{
    if (core_forked(core))
        return dlock_error_set(error, DLOCK_INVALID,
                               "this process is a fork of the one that opened the factory: open one of its own");
    core_lock(core);
    if (!core->closed)
        return DLOCK_OK;
    core_unlock(core);
    return dlock_error_set(error, DLOCK_INVALID, "the factory is closed");
}

/* xorshift64* (Marsaglia, "Xorshift RNGs"; Vigna's multiplier): for jitter, not for secrets. */
uint64_t core_chance(struct dlock_factory *core)
{
    uint64_t x = core->chance;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    core->chance = x;
    return x * 2685821657736338717u;
}

/* The key as a message shows it: shortened, and nothing in it that moves a terminal's cursor. */
static void show_key(char ret[SHOWN_KEY + 4], const char *key)
{
    size_t n = 0;
    for (; *key && n < SHOWN_KEY; key++)
        ret[n++] = (unsigned char)*key < ' ' || *key == 0x7f ? '?' : *key;
    if (*key) {
        while (n > 0 && ((unsigned char)ret[n - 1] & 0xc0) == 0x80)
            n--;
        if (n > 0 && (unsigned char)ret[n - 1] >= 0xc0)
            n--;
        memcpy(ret + n, "...", 3);
        n += 3;
    }
    ret[n] = '\0';
}

dlock_status core_explain(const struct dlock_factory *core, dlock_error *error, dlock_status status, const char *verb,
                          const char *key, const char *format, ...)
{
    char detail[DLOCK_MESSAGE_SIZE];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(detail, sizeof detail, format, arguments);
    va_end(arguments);
    char shown[SHOWN_KEY + 4];
    show_key(shown, key);
    return dlock_error_set(error, status, "cannot %s '%s' in %s: %s", verb, shown, core->where, detail);
}
