/* url.h - URLs of storages: parsing, and showing without the password.
 *
 * The parts that storages need are public in dlock_storage.h; these two ends are for factory.c. */
#ifndef DLOCK_SRC_URL_H
#define DLOCK_SRC_URL_H

#include "dlock_storage.h"

/* Parses `text`, one URL or several with spaces between; *ret and its followers are freed by url_free. A text that is
 * no URL is INVALID; the message says what was expected and where, and shows nothing that may be a password. */
dlock_status url_parse(const char *text, dlock_url **ret, dlock_error *error);
void url_free(dlock_url *url);

/* The URL and its followers for messages: user shown, password and every parameter that may be secret replaced by
 * "***". Freed by free(); NULL = no memory. */
char *url_show(const dlock_url *urls);

#endif
