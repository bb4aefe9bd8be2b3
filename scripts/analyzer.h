/* analyzer.h - tells the analyzer of clang-tidy that these functions return the status that they are given, which it
 * cannot see where they are called. Put in front of every file by scripts/lint, except of those that define them. */
#include "core.h"

#define dlock_error_set(error, status, ...) ((void)(dlock_error_set)((error), (status), __VA_ARGS__), (status))
#define dlock_request_fail(request, status, ...)                                                                       \
    ((void)(dlock_request_fail)((request), (status), __VA_ARGS__), (status))
#define core_explain(core, error, status, ...) ((void)(core_explain)((core), (error), (status), __VA_ARGS__), (status))
