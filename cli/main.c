/* main.c - the dlock command: finds out what is asked for, and has it done.
 *
 * Called by users. Every command is a function of commands.h; options.c says which options it has. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "commands.h"
#include "dlock.h"
#include "options.h"
#include "report.h"

static int (*const commands[COMMAND_COUNT])(const struct settings *) = {
    [COMMAND_RUN] = command_run,       [COMMAND_ACQUIRE] = command_acquire, [COMMAND_RELEASE] = command_release,
    [COMMAND_EXTEND] = command_extend, [COMMAND_STATUS] = command_status,   [COMMAND_LIST] = command_list,
    [COMMAND_BREAK] = command_break,   [COMMAND_CHECK] = command_check,     [COMMAND_BENCH] = command_bench,
};

/* If dlock was started with standard input, output or error closed, the next file that it opens would take their
 * place, and messages would end up in the storage. What takes their place here fails as a closed one does, and is
 * closed again for the command. */
static void fill_standard_descriptors(void)
{
    for (int descriptor = STDIN_FILENO; descriptor <= STDERR_FILENO; descriptor++)
        if (fcntl(descriptor, F_GETFD) < 0 &&
            open("/dev/null", (descriptor == STDIN_FILENO ? O_WRONLY : O_RDONLY) | O_CLOEXEC) != descriptor)
            exit(STATUS_SYSTEM);
}

static int not_understood(const struct settings *s, int status, const char *problem)
{
    const char *name = options_command_name(s->command);

    report_error("%s%s%s", name, *name ? ": " : "", problem);
    if (status == STATUS_USAGE)
        fprintf(stderr, "Try 'dlock %s%s--help'.\n", name, *name ? " " : "");
    return status;
}

static int carry_out(const struct settings *s)
{
    if (s->help) {
        options_help(stdout, s->command);
        return report_output(STATUS_OK);
    }
    if (s->version) {
        printf("dlock %s\n", dlock_version());
        return report_output(STATUS_OK);
    }
    report_setup(s->quiet, s->verbose, s->json && s->command == COMMAND_RUN);
    return commands[s->command](s);
}

int main(int argc, char **argv)
{
    struct settings settings;
    char problem[OPTIONS_PROBLEM_SIZE];

    fill_standard_descriptors();
    int status = options_parse(&settings, argc, argv, problem);
    status = status == STATUS_OK ? carry_out(&settings) : not_understood(&settings, status, problem);
    settings_deinit(&settings);
    return status;
}
