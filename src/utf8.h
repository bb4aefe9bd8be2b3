/* utf8.h - is this text UTF-8? For keys and URLs. */
#ifndef DLOCK_SRC_UTF8_H
#define DLOCK_SRC_UTF8_H

#include <stdbool.h>
#include <stddef.h>

/* Well-formed by RFC 3629: shortest forms, no surrogates, up to U+10FFFF. */
bool utf8_valid(const char *text, size_t length);

#endif
