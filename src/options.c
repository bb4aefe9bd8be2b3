/* options.c - see options.h. */
#include "options.h"

#include "owner.h"
#include "utf8.h"

#include <string.h>

#define TIMEOUT_MIN_MS 10u
#define TIMEOUT_MAX_MS 600000u

dlock_status options_check_prefix(const char *prefix, dlock_error *error)
{
    const size_t length = strlen(prefix);
    if (length > DLOCK_KEY_MAX)
        return dlock_error_set(error, DLOCK_INVALID, "the key is %zu bytes long; expected at most %d", length,
                               DLOCK_KEY_MAX);
    if (!utf8_valid(prefix, length))
        return dlock_error_set(error, DLOCK_INVALID, "the key is not valid UTF-8");
    return DLOCK_OK;
}

dlock_status options_check_key(const char *key, dlock_error *error)
{
    if (!key || key[0] == '\0')
        return dlock_error_set(error, DLOCK_INVALID, "the key is empty; expected 1 to %d bytes of UTF-8",
                               DLOCK_KEY_MAX);
    return options_check_prefix(key, error);
}

static dlock_status check_range(const char *name, uint32_t value, uint32_t min, uint32_t max, dlock_error *error)
{
    if (value >= min && value <= max)
        return DLOCK_OK;
    return dlock_error_set(error, DLOCK_INVALID, "%s is %u; expected %u to %u", name, value, min, max);
}

dlock_status options_check_ttl(uint32_t ttl_ms, dlock_error *error)
{
    return check_range("ttl_ms", ttl_ms, DLOCK_TTL_MIN_MS, DLOCK_TTL_MAX_MS, error);
}

/* Copies an option struct of a caller that was compiled with an older or newer header. What a newer one has on top
 * must be unset, since nothing here would heed it. */
static dlock_status copy(void *ret, size_t size, const void *options, size_t given, const char *name,
                         dlock_error *error)
{
    if (given < sizeof given)
        return dlock_error_set(error, DLOCK_INVALID, "%s.size is %zu: start from its _INIT macro", name, given);
    for (size_t i = size; i < given; i++)
        if (((const char *)options)[i] != 0)
            return dlock_error_set(error, DLOCK_INVALID, "%s has an option set that libdlock %s does not know", name,
                                   dlock_version());
    memcpy(ret, options, given < size ? given : size);
    return DLOCK_OK;
}

static uint32_t either(uint32_t value, uint32_t otherwise)
{
    return value ? value : otherwise;
}

dlock_status options_plan(const dlock_acquire_options *options, const struct machine_plan *defaults,
                          struct machine_plan *ret, dlock_error *error)
{
    dlock_acquire_options given = DLOCK_ACQUIRE_OPTIONS_INIT;
    dlock_status status = DLOCK_OK;
    if (options)
        status = copy(&given, sizeof given, options, options->size, "dlock_acquire_options", error);
    const struct machine_plan plan = {.ttl_ms = either(given.ttl_ms, defaults->ttl_ms),
                                      .retries = either(given.retries, defaults->retries),
                                      .interval_ms = either(given.interval_ms, defaults->interval_ms),
                                      .wait_ms = given.wait_ms,
                                      .margin_ms = given.margin_ms,
                                      .renew = given.renew};
    if (status == DLOCK_OK)
        status = options_check_ttl(plan.ttl_ms, error);
    if (status == DLOCK_OK)
        status = check_range("interval_ms", plan.interval_ms, 1, DLOCK_TTL_MAX_MS, error);
    if (status == DLOCK_OK)
        status = check_range("margin_ms", plan.margin_ms, 0, plan.ttl_ms / 2, error);
    if (status == DLOCK_OK)
        *ret = plan;
    return status;
}

dlock_status options_copy_factory(const dlock_factory_options *options, dlock_factory_options *ret, dlock_error *error)
{
    dlock_factory_options given = DLOCK_FACTORY_OPTIONS_INIT;
    dlock_status status = DLOCK_OK;
    if (options)
        status = copy(&given, sizeof given, options, options->size, "dlock_factory_options", error);
    if (status == DLOCK_OK)
        *ret = given;
    return status;
}

dlock_status options_complete_factory(dlock_factory_options *options, dlock_error *error)
{
    options->timeout_ms = either(options->timeout_ms, DLOCK_DEFAULT_TIMEOUT_MS);
    options->ttl_ms = either(options->ttl_ms, DLOCK_DEFAULT_TTL_MS);
    options->retries = either(options->retries, DLOCK_DEFAULT_RETRIES);
    options->interval_ms = either(options->interval_ms, DLOCK_DEFAULT_INTERVAL_MS);
    if (options->machine && !owner_machine_valid(options->machine))
        return dlock_error_set(error, DLOCK_INVALID, "machine: expected 1 to %d letters, digits, '.', '-' or '_'",
                               DLOCK_MACHINE_MAX);
    dlock_status status = check_range("timeout_ms", options->timeout_ms, TIMEOUT_MIN_MS, TIMEOUT_MAX_MS, error);
    if (status == DLOCK_OK)
        status = options_check_ttl(options->ttl_ms, error);
    if (status == DLOCK_OK)
        status = check_range("interval_ms", options->interval_ms, 1, DLOCK_TTL_MAX_MS, error);
    return status;
}
