/* utf8.c - see utf8.h. */
#include "utf8.h"

#include <stdint.h>

/* How many bytes follow this first byte, and what the smallest code point of that length is; -1 = none may. */
static int followers(unsigned char first, uint32_t *least)
{
    if (first < 0x80) {
        *least = 0;
        return 0;
    }
    if (first >= 0xc2 && first < 0xe0) {
        *least = 0x80;
        return 1;
    }
    if (first >= 0xe0 && first < 0xf0) {
        *least = 0x800;
        return 2;
    }
    *least = 0x10000;
    return first >= 0xf0 && first < 0xf5 ? 3 : -1;
}

bool utf8_valid(const char *text, size_t length)
{
    const unsigned char *at = (const unsigned char *)text, *end = at + length;
    while (at < end) {
        uint32_t least;
        const int more = followers(*at, &least);
        if (more < 0 || more >= end - at)
            return false;
        uint32_t point = more ? *at & (0x3fu >> more) : *at;
        at++;
        for (int i = 0; i < more; i++, at++) {
            if ((*at & 0xc0) != 0x80)
                return false;
            point = point << 6 | (*at & 0x3fu);
        }
        if (point < least || point > 0x10ffff || (point >= 0xd800 && point < 0xe000))
            return false;
    }
    return true;
}
