/* owner.c - see owner.h. */
#include "owner.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#define RANDOM_BYTES 16

static bool machine_byte(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '-' ||
           c == '_';
}

void owner_machine(char ret[DLOCK_MACHINE_MAX + 1])
{
    if (gethostname(ret, DLOCK_MACHINE_MAX) != 0)
        ret[0] = '\0';
    ret[DLOCK_MACHINE_MAX] = '\0';
    for (char *c = ret; *c; c++)
        if (!machine_byte(*c))
            *c = '-';
    if (ret[0] == '\0')
        strcpy(ret, "localhost");
}

bool owner_machine_valid(const char *machine)
{
    const size_t length = strlen(machine);
    for (size_t i = 0; i < length; i++)
        if (!machine_byte(machine[i]))
            return false;
    return length >= 1 && length <= DLOCK_MACHINE_MAX;
}

bool owner_valid(const char *text)
{
    const size_t length = strlen(text);
    if (length == 0 || length >= DLOCK_OWNER_SIZE)
        return false;
    for (size_t i = 0; i < length; i++)
        if (text[i] <= ' ' || text[i] > '~')
            return false;
    return true;
}

static bool refill(struct owner_random *random)
{
    while (random->left < sizeof random->bytes) {
        const ssize_t got = getrandom(random->bytes + random->left, sizeof random->bytes - random->left, 0);
        if (got < 0 && errno != EINTR)
            return false;
        if (got > 0)
            random->left += (size_t)got;
    }
    return true;
}

void owner_begin(char ret[OWNER_BEGINNING_SIZE], const char *machine, pid_t pid)
{
    snprintf(ret, OWNER_BEGINNING_SIZE, "%.*s:%ld:", DLOCK_MACHINE_MAX, machine, (long)pid);
}

bool owner_make(char ret[DLOCK_OWNER_SIZE], const char *beginning, struct owner_random *random)
{
    if (random->left < RANDOM_BYTES && !refill(random))
        return false;
    random->left -= RANDOM_BYTES;
    unsigned char *bytes = random->bytes + random->left;

    static const char digits[] = "0123456789abcdef";
    char *end = stpcpy(ret, beginning);
    for (size_t i = 0; i < RANDOM_BYTES; i++) {
        *end++ = digits[bytes[i] >> 4];
        *end++ = digits[bytes[i] & 15];
        bytes[i] = 0; /* never used twice, never found in memory */
    }
    *end = '\0';
    return true;
}

void owner_show(char ret[DLOCK_OWNER_SIZE], const char *owner)
{
    snprintf(ret, DLOCK_OWNER_SIZE, "%s", owner);
    char *last = strrchr(ret, ':');
    if (last)
        *last = '\0';
}
