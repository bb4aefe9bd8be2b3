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
    [COMMAND_BREAK] = command_break,   [COMMAND_CHECK] = command_check,
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

static int misused(const struct settings *s, const char *problem)
{
    const char *name = options_command_name(s->command);

    report_error("%s%s%s", name, *name ? ": " : "", problem);
    fprintf(stderr, "Try 'dlock %s%s--help'.\n", name, *name ? " " : "");
    return STATUS_USAGE;
}

int main(int argc, char **argv)
{
    struct settings settings;
    char problem[OPTIONS_PROBLEM_SIZE];

    fill_standard_descriptors();
    if (!options_parse(&settings, argc, argv, problem))
        return misused(&settings, problem);
    if (settings.help) {
        options_help(stdout, settings.command);
        return report_output(STATUS_OK);
    }
    if (settings.version) {
        printf("dlock %s\n", dlock_version());
        return report_output(STATUS_OK);
    }
    report_setup(settings.quiet, settings.verbose, settings.json && settings.command == COMMAND_RUN);
    return commands[settings.command](&settings);
}
