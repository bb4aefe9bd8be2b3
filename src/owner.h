/* owner.h - owner tokens: machine:pid:random128, unique, unguessable, and readable for a person. */
#ifndef DLOCK_SRC_OWNER_H
#define DLOCK_SRC_OWNER_H

#include "dlock.h"

#include <sys/types.h>

/* The name of this machine as owner tokens show it: the host name, every byte that is not allowed replaced by '-'. */
void owner_machine(char ret[DLOCK_MACHINE_MAX + 1]);

/* Is `machine` 1 to 64 bytes of letters, digits, '.', '-', '_'? */
bool owner_machine_valid(const char *machine);

/* Is `text` shaped like an owner token? */
bool owner_valid(const char *text);

/* Random bytes of getrandom(2) in store, so that not every token costs a system call. Zeroed at first. */
struct owner_random {
    unsigned char bytes[256];
    size_t left;
};

/* Writes what all tokens of a process begin with: "machine:pid:". */
#define OWNER_BEGINNING_SIZE (DLOCK_MACHINE_MAX + 24)
void owner_begin(char ret[OWNER_BEGINNING_SIZE], const char *machine, pid_t pid);

/* Writes a new token with that beginning. False if the kernel gives no random bytes. */
bool owner_make(char ret[DLOCK_OWNER_SIZE], const char *beginning, struct owner_random *random);

/* The token without its random part, for messages: machine:pid. */
void owner_show(char ret[DLOCK_OWNER_SIZE], const char *owner);

#endif
