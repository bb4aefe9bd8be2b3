/* hold.c - dlock acquire, release, extend: a lock that is held between two commands of a shell.
 *
 * Called by main.c. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "commands.h"
#include "duration.h"
#include "json.h"
#include "report.h"
#include "take.h"

/* Between single quotes a shell takes everything as it is, but for the single quote. */
static void print_quoted(const char *name, const char *value)
{
    printf("export %s='", name);
    for (; *value; value++) {
        if (*value == '\'')
            fputs("'\\''", stdout);
        else
            putchar(*value);
    }
    puts("'");
}

static void print_hold(const struct settings *s, const char *key, const dlock_info *info)
{
    struct json j;

    if (s->json) {
        json_begin(&j);
        json_text(&j, "key", key);
        json_info(&j, info);
        json_end(&j);
        puts(j.text);
        return;
    }
    print_quoted("DLOCK_KEY", key);
    print_quoted("DLOCK_OWNER", info->owner);
    printf("export DLOCK_FENCE=%" PRIu64 "\nexport DLOCK_TTL_MS=%" PRIu32 "\n", info->fence, info->ttl_ms);
}

int command_acquire(const struct settings *s)
{
    struct take t;
    dlock_acquire_options options = DLOCK_ACQUIRE_OPTIONS_INIT;
    dlock_error error;

    options.ttl_ms = s->ttl_ms > 0 ? (uint32_t)s->ttl_ms : DLOCK_DEFAULT_TTL_MS;
    int status;
    const bool taken = take(&t, s, &options, &status);
    if (taken) {
        const dlock_info info = take_info(&t, options.ttl_ms);
        print_hold(s, s->key, &info);
        status = report_output(0); /* a lock whose owner nobody has read is released again */
    }
    if (taken && status == STATUS_OK && dlock_detach(t.lock, &error) != DLOCK_OK)
        status = report_failure(&error);
    take_close(&t);
    return status;
}

/* What `acquire` printed, adopted. Returns 0 or the exit status; the two are closed by the caller. */
static int adopt(const struct settings *s, dlock_factory **factory, dlock **lock)
{
    const char *owner = s->owner ? s->owner : getenv("DLOCK_OWNER");
    dlock_error error;

    if (!owner || !*owner) {
        report_error("whose lock? Give --owner, or DLOCK_OWNER as 'dlock acquire' prints it");
        return STATUS_USAGE;
    }
    if (dlock_factory_open(s->store, NULL, factory, &error) != DLOCK_OK ||
        dlock_create(*factory, s->key, lock, &error) != DLOCK_OK || dlock_adopt(*lock, owner, &error) != DLOCK_OK)
        return report_failure(&error);
    return 0;
}

static void print_done(const struct settings *s, const char *what, const dlock_info *info)
{
    struct json j;

    if (!s->json)
        return;
    json_begin(&j);
    json_text(&j, "key", s->key);
    json_flag(&j, what, true);
    if (info) {
        json_text(&j, "owner", info->owner);
        json_integer(&j, "ttl_ms", info->ttl_ms);
        json_milliseconds(&j, "remaining_ms", info->remaining_ms);
    }
    json_end(&j);
    puts(j.text);
}

int command_release(const struct settings *s)
{
    dlock_factory *factory = NULL;
    dlock *lock = NULL;
    dlock_error error;
    int status = adopt(s, &factory, &lock);

    if (status == 0 && dlock_release(lock, &error) != DLOCK_OK)
        status = report_failure(&error);
    if (status == 0)
        print_done(s, "released", NULL);
    dlock_free(lock);
    dlock_factory_close(factory);
    return report_output(status);
}

/* How long it is to live: as asked, else as it was acquired. 0 = the environment says nonsense, and that was told. */
static uint32_t extension(const struct settings *s)
{
    const char *text = getenv("DLOCK_TTL_MS");
    char *end;

    if (s->ttl_ms > 0)
        return (uint32_t)s->ttl_ms;
    if (!text || !*text)
        return DLOCK_DEFAULT_TTL_MS;
    const long ms = strtol(text, &end, 10);
    if (!*end && ms >= (long)DLOCK_TTL_MIN_MS && ms <= (long)DLOCK_TTL_MAX_MS)
        return (uint32_t)ms;
    report_error("DLOCK_TTL_MS: '%.100s' is no ttl; expected %u to %u milliseconds", text, DLOCK_TTL_MIN_MS,
                 DLOCK_TTL_MAX_MS);
    return 0;
}

int command_extend(const struct settings *s)
{
    dlock_factory *factory = NULL;
    dlock *lock = NULL;
    dlock_error error;
    const uint32_t ttl_ms = extension(s);

    if (ttl_ms == 0)
        return STATUS_USAGE;
    int status = adopt(s, &factory, &lock);
    if (status == 0 && dlock_extend(lock, ttl_ms, &error) != DLOCK_OK)
        status = report_failure(&error);
    if (status == 0) {
        dlock_info info = {.ttl_ms = ttl_ms, .remaining_ms = dlock_remaining_ms(lock)};
        snprintf(info.owner, sizeof info.owner, "%s", dlock_owner(lock));
        print_done(s, "extended", &info);
    }
    if (lock)
        dlock_detach(lock, NULL); /* whatever happened, it is not to be released here */
    dlock_free(lock);
    dlock_factory_close(factory);
    return report_output(status);
}
