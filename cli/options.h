/* options.h - the commands of dlock, their options, and what was asked for.
 *
 * One table says which options there are; parsing and --help both read it. Used by main.c and, for the settings, by
 * every command. */
#ifndef DLOCK_CLI_OPTIONS_H
#define DLOCK_CLI_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum command {
    COMMAND_RUN,
    COMMAND_ACQUIRE,
    COMMAND_RELEASE,
    COMMAND_EXTEND,
    COMMAND_STATUS,
    COMMAND_LIST,
    COMMAND_BREAK,
    COMMAND_CHECK,
    COMMAND_BENCH,
    COMMAND_COUNT, /* also: no command */
};

enum on_lost { ON_LOST_KILL, ON_LOST_TERM, ON_LOST_IGNORE };

/* What the user asked for. Numbers that were not given are -1, texts NULL. The store belongs to the settings, the other
 * texts are words of the command line. */
struct settings {
    enum command command;
    char *store; /* all URLs that were given, spaces between them */
    const char *owner, *only, *svg;
    int64_t wait_ms, retries, interval_ms;
    int64_t ttl_ms, max_hold_ms, min_hold_ms, kill_after_ms;
    int64_t conflict_exit_code, time_ms;
    int64_t on_lost; /* enum on_lost */
    bool nb, no_renew, foreground, force, quiet, verbose, json, help, version;
    const char *key;  /* for list: the prefix */
    char **arguments; /* of run: the command and its arguments */
};

#define OPTIONS_PROBLEM_SIZE 512

/* Reads the words after the program's name. Returns STATUS_OK of report.h, or STATUS_USAGE if they cannot be
 * understood, or STATUS_SYSTEM if memory is short; then `problem` says what is wrong and what was expected, and
 * settings->command is as far as it was understood. settings_deinit is needed in each case. */
int options_parse(struct settings *settings, int argc, char **argv, char problem[OPTIONS_PROBLEM_SIZE]);

void settings_deinit(struct settings *settings);

/* The command's name; "" if there is none. */
const char *options_command_name(enum command command);

/* Prints the help of a command, or of dlock as a whole. */
void options_help(FILE *to, enum command command);

#endif
