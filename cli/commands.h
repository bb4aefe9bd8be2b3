/* commands.h - the commands of dlock. Each does what its settings ask for and returns the exit status.
 *
 * Called by main.c. */
#ifndef DLOCK_CLI_COMMANDS_H
#define DLOCK_CLI_COMMANDS_H

#include "options.h"

int command_run(const struct settings *settings);     /* run.c */
int command_acquire(const struct settings *settings); /* hold.c */
int command_release(const struct settings *settings);
int command_extend(const struct settings *settings);
int command_status(const struct settings *settings); /* show.c */
int command_list(const struct settings *settings);
int command_break(const struct settings *settings); /* break.c */
int command_check(const struct settings *settings); /* check.c */
int command_bench(const struct settings *settings); /* bench.c */

#endif
