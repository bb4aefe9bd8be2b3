/* storages.h - which storage serves a URL's scheme. */
#ifndef DLOCK_SRC_STORAGES_H
#define DLOCK_SRC_STORAGES_H

#include "dlock_storage.h"

/* What is opened where no URL is given: the embedded storage in its default place. */
extern const char storages_default_url[];

/* Finds the storage that serves the URL, or all of them if it has followers: built in, or in a module that is loaded
 * now and stays loaded. UNSUPPORTED = there is none (the message lists where it was looked for), REFUSED = the module
 * cannot be loaded or is of another version, INVALID = no storage takes these URLs together. */
dlock_status storages_find(const dlock_url *urls, const dlock_storage **ret, dlock_error *error);

#endif
