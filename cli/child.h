/* child.h - the command that runs under the lock: its process group, its terminal, and its end.
 *
 * Used by run.c. What must hold: the command inherits nothing of dlock's, job control works as if dlock were not
 * there, and the command's group does not outlive a dlock that was killed. */
#ifndef DLOCK_CLI_CHILD_H
#define DLOCK_CLI_CHILD_H

#include <stdbool.h>
#include <sys/types.h>

#include "signals.h"

struct child {
    pid_t pid;           /* 0 = none runs */
    bool foreground;     /* in dlock's process group; then only the process itself is signalled */
    int terminal;        /* the controlling terminal, -1 = none or not to be touched */
    bool wants_terminal; /* to be given to the command's group when dlock's own group has it */
    bool has_terminal;   /* it was given */
    pid_t guardian;      /* kills the group when dlock is no more; 0 = none */
    char *guardian_stack;
    int leash; /* held open by dlock alone: its end is what the guardian waits for */
};

/* Starts `arguments` with `environment`. Returns 0, or errno of what failed. Call it from the main thread only: the
 * kernel ends the command with the thread that started it. */
int child_start(struct child *child, const struct signals *signals, bool foreground, char **arguments,
                char **environment);

/* Signals the command: its group, or with --foreground the process. */
void child_signal(const struct child *child, int signal);

enum child_news { CHILD_RUNS, CHILD_STOPPED, CHILD_ENDED };

/* Looks without waiting. Of CHILD_STOPPED *ret is the signal; of CHILD_ENDED the exit status as a shell counts it.
 * A command that ended is not gone yet: its number stays taken until child_reap. */
enum child_news child_look(const struct child *child, int *ret);

/* The command was stopped by `signal`: stops dlock likewise, once it has taken the terminal back. Returns when dlock
 * goes on; SIGCONT is then reported by `signals`, and child_continue is to be called on it. */
void child_stop_along(struct child *child, int signal);
void child_continue(struct child *child);

/* The command has ended: lets its number go, and takes the terminal back. */
void child_reap(struct child *child);

/* After child_reap: is any process of its group left? */
bool child_group_remains(const struct child *child);

/* Nothing of the command is to be killed any more: dismisses the guardian. */
void child_close(struct child *child);

#endif
