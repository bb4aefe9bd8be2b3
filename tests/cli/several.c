/* several.c - the example's storage as one that is spread over several places: several.so, for test_options.py and
 * test_run.py. It takes any URLs; what is behind them is the memory of the process. */
#include "dlock_storage.h"

DLOCK_API dlock_module_function dlock_module;
dlock_module_function memory_module; /* the example, where it is compiled for this */

static dlock_status open_session(void *session, const dlock_url *url, const dlock_storage_options *options,
                                 dlock_error *error)
{
    (void)url;
    return memory_module()->open(session, &(const dlock_url){.text = "", .scheme = "memory"}, options, error);
}

const dlock_storage *dlock_module(void)
{
    static const char *const schemes[] = {"several", NULL};
    static dlock_storage several;
    several = *memory_module();
    several.name = "several";
    several.schemes = schemes;
    several.capabilities |= DLOCK_STORAGE_SEVERAL_URLS;
    several.open = open_session;
    return &several;
}
