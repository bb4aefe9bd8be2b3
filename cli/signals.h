/* signals.h - signals as events of a descriptor, from before the library starts threads until the command runs.
 *
 * Used by take.c while it waits, run.c while the command runs, and child.c, which gives the command what dlock was
 * given. */
#ifndef DLOCK_CLI_SIGNALS_H
#define DLOCK_CLI_SIGNALS_H

#include <signal.h>
#include <stdbool.h>

struct signals {
    int descriptor;     /* readable when a signal waits */
    sigset_t before;    /* blocked when dlock was started */
    bool child_ignored; /* SIGCHLD was ignored then */
};

/* Blocks the signals that dlock acts on, except those that it was told to ignore. False = out of descriptors. */
bool signals_open(struct signals *signals);
void signals_close(struct signals *signals);

/* The next signal that waits, 0 = none. `ret_by_terminal` (may be NULL): it went to the whole process group. */
int signals_next(struct signals *signals, bool *ret_by_terminal);

/* Is it one of INT TERM HUP QUIT USR1 USR2, which end a wait and are passed on to the command? */
bool signals_is_passed_on(int signal);

/* From now on ^Z is an event too; while dlock waits for a lock, it stops dlock. */
void signals_catch_stop(struct signals *signals);

/* In the child, before exec: as dlock was given them. */
void signals_restore(const struct signals *signals);

#endif
