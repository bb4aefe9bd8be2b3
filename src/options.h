/* options.h - checks and completes what callers give: keys, ttls, option structs of any version. */
#ifndef DLOCK_SRC_OPTIONS_H
#define DLOCK_SRC_OPTIONS_H

#include "machine.h"

/* 1 to 512 bytes of UTF-8. */
dlock_status options_check_key(const char *key, dlock_error *error);

/* The start of a key, for list: like a key, but may be empty. */
dlock_status options_check_prefix(const char *prefix, dlock_error *error);

dlock_status options_check_ttl(uint32_t ttl_ms, dlock_error *error);

/* A plan from the caller's options (may be NULL) and the factory's defaults. */
dlock_status options_plan(const dlock_acquire_options *options, const struct machine_plan *defaults,
                          struct machine_plan *ret, dlock_error *error);

/* Copies factory options (may be NULL) of any version; then, when the URL had its say, checks them and fills in
 * defaults. */
dlock_status options_copy_factory(const dlock_factory_options *options, dlock_factory_options *ret, dlock_error *error);
dlock_status options_complete_factory(dlock_factory_options *options, dlock_error *error);

#endif
