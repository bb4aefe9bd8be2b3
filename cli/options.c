/* options.c - the commands of dlock, their options, and what was asked for.
 *
 * Called by main.c once. A test compares the table with the man page and the completion: all three name the same
 * options. */
#include "options.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "dlock.h"
#include "duration.h"
#include "report.h"

#define RUN     (1u << COMMAND_RUN)
#define ACQUIRE (1u << COMMAND_ACQUIRE)
#define RELEASE (1u << COMMAND_RELEASE)
#define EXTEND  (1u << COMMAND_EXTEND)
#define STATUS  (1u << COMMAND_STATUS)
#define LIST    (1u << COMMAND_LIST)
#define BREAK   (1u << COMMAND_BREAK)
#define CHECK   (1u << COMMAND_CHECK)
#define BENCH   (1u << COMMAND_BENCH)
#define NONE    (1u << COMMAND_COUNT)
#define ALL     (NONE - 1)

enum kind {
    FLAG,
    TEXT, /* the last one counts */
    URLS, /* each one counts */
    DURATION,
    NUMBER,
    CHOICE,
};

struct option {
    char letter; /* 0 = none */
    const char *name;
    const char *value; /* what help calls the value; of CHOICE: the choices, in the order of their numbers */
    enum kind kind;
    size_t field;     /* in struct settings: bool, const char *, char * (of URLS) or int64_t */
    int64_t min, max; /* of DURATION (ms) and NUMBER */
    unsigned commands;
    const char *help;
};

#define FIELD(name) offsetof(struct settings, name)

static const struct option options[] = {
    {'S', "store", "URL", URLS, FIELD(store), 0, 0, ALL,
     "the storage; again for each further place of it (default: $DLOCK_STORE, else the embedded one)"},
    {'w', "wait", "SECS", DURATION, FIELD(wait_ms), 0, DURATION_MAX_MS, RUN | ACQUIRE,
     "give up after SECS (default: wait for ever)"},
    {'n', "nb", NULL, FLAG, FIELD(nb), 0, 0, RUN | ACQUIRE, "do not wait: one attempt"},
    {0, "retries", "N", NUMBER, FIELD(retries), 1, 1000000, RUN | ACQUIRE, "give up after N attempts, not by time"},
    {0, "interval", "SECS", DURATION, FIELD(interval_ms), 1, DURATION_MAX_MS, RUN | ACQUIRE,
     "the longest pause between two attempts (default: 1); see dlock(1)"},
    {'t', "ttl", "SECS", DURATION, FIELD(ttl_ms), DLOCK_TTL_MIN_MS, DLOCK_TTL_MAX_MS, RUN,
     "how long the lock outlives a dlock that died (default: 10); renewed while the command runs"},
    {'t', "ttl", "SECS", DURATION, FIELD(ttl_ms), DLOCK_TTL_MIN_MS, DLOCK_TTL_MAX_MS, ACQUIRE,
     "how long the lock lives unless it is extended (default: 10)"},
    {'t', "ttl", "SECS", DURATION, FIELD(ttl_ms), DLOCK_TTL_MIN_MS, DLOCK_TTL_MAX_MS, EXTEND,
     "how long the lock lives from now on (default: $DLOCK_TTL_MS, else 10)"},
    {0, "no-renew", NULL, FLAG, FIELD(no_renew), 0, 0, RUN, "do not renew: the lock ends after its ttl"},
    {0, "max-hold", "SECS", DURATION, FIELD(max_hold_ms), 1, DURATION_MAX_MS, RUN,
     "end the command if it runs longer; exit status 124"},
    {0, "min-hold", "SECS", DURATION, FIELD(min_hold_ms), 0, DURATION_MAX_MS, RUN,
     "keep the lock for so long, even if the command ends earlier"},
    {'E', "conflict-exit-code", "N", NUMBER, FIELD(conflict_exit_code), 0, 255, RUN | ACQUIRE,
     "exit status if the lock was not to be had (default: 75)"},
    {0, "on-lost", "kill|term|ignore", CHOICE, FIELD(on_lost), 0, 0, RUN,
     "what happens to the command if the lock is lost (default: kill)"},
    {0, "kill-after", "SECS", DURATION, FIELD(kill_after_ms), 0, DURATION_MAX_MS, RUN,
     "from TERM to KILL, when dlock ends the command (default: a quarter of the ttl, at most 10)"},
    {0, "foreground", NULL, FLAG, FIELD(foreground), 0, 0, RUN,
     "leave the command in dlock's process group, and the terminal alone"},
    {0, "owner", "OWNER", TEXT, FIELD(owner), 0, 0, RELEASE | EXTEND, "who holds the lock (default: $DLOCK_OWNER)"},
    {0, "time", "SECS", DURATION, FIELD(time_ms), 1, DURATION_MAX_MS, BENCH,
     "how long each measure takes (default: 2)"},
    {0, "only", "NAMES", TEXT, FIELD(only), 0, 0, BENCH, "the measures to make, with commas between (default: all)"},
    {0, "svg", "FILE", TEXT, FIELD(svg), 0, 0, BENCH, "write a chart of the times as well"},
    {0, "force", NULL, FLAG, FIELD(force), 0, 0, BREAK, "do not ask"},
    {'q', "quiet", NULL, FLAG, FIELD(quiet), 0, 0, RUN | ACQUIRE, "no messages but errors"},
    {'v', "verbose", NULL, FLAG, FIELD(verbose), 0, 0, RUN | ACQUIRE, "say on standard error what happens"},
    {0, "json", NULL, FLAG, FIELD(json), 0, 0, RUN, "say on standard error what happens, one JSON object a line"},
    {0, "json", NULL, FLAG, FIELD(json), 0, 0, ALL & ~RUN, "print JSON"},
    {'h', "help", NULL, FLAG, FIELD(help), 0, 0, ALL | NONE, "print this help"},
    {'V', "version", NULL, FLAG, FIELD(version), 0, 0, ALL | NONE, "print the version"},
};
#define OPTION_COUNT (sizeof options / sizeof *options)

static const struct {
    const char *name, *arguments, *summary, *examples;
} commands[] = {
    [COMMAND_RUN] = {"run", "KEY [--] COMMAND [ARG...]", "run a command while holding a lock",
                     "  dlock run nightly -- /usr/local/bin/backup       # wait in line, then run\n"
                     "  dlock run -n nightly -- backup                   # skip if it runs elsewhere: status 75\n"
                     "  dlock run -n --min-hold 50s report -- make-it    # cron on several machines: once a minute\n"
                     "  dlock run --wait 30s --max-hold 10m deploy -- sh -c 'echo \"fence $DLOCK_FENCE\"'\n"},
    [COMMAND_ACQUIRE] = {"acquire", "KEY", "take a lock and leave it held",
                         "  eval \"$(dlock acquire --ttl 5m deploy)\" && echo \"$DLOCK_OWNER\"\n"
                         "  dlock acquire --nb --json deploy\n"},
    [COMMAND_RELEASE] = {"release", "KEY", "give up a lock that 'dlock acquire' took",
                         "  dlock release deploy                             # of $DLOCK_OWNER\n"
                         "  dlock release --owner \"$owner\" deploy\n"},
    [COMMAND_EXTEND] = {"extend", "KEY", "let a held lock live longer", "  dlock extend --ttl 5m deploy\n"},
    [COMMAND_STATUS] = {"status", "KEY", "say who holds a lock; exit status 0 if held, 1 if free",
                        "  dlock status nightly\n"
                        "  dlock status --json nightly\n"},
    [COMMAND_LIST] = {"list", "[PREFIX]", "list the locks that are held",
                      "  dlock list\n"
                      "  dlock list --json backup/\n"},
    [COMMAND_BREAK] = {"break", "KEY", "take a lock away from its holder",
                       "  dlock break nightly                              # asks first\n"
                       "  dlock break --force nightly\n"},
    [COMMAND_CHECK] = {"check", "", "try a storage out, measure it, and warn of weak settings",
                       "  dlock check\n"
                       "  dlock check --store sqlite:/var/lib/jobs/locks.db\n"},
    [COMMAND_BENCH] = {"bench", "", "measure how fast a storage is, and what waiting and holding cost",
                       "  dlock bench --store redis://cache.example        # takes half a minute\n"
                       "  dlock bench --only pair,handover --time 10 --svg times.svg\n"},
};

static bool takes_argument(enum command command)
{
    return command < COMMAND_COUNT && *commands[command].arguments;
}

const char *options_command_name(enum command command)
{
    return command < COMMAND_COUNT ? commands[command].name : "";
}

/* ---- parsing ------------------------------------------------------------------------------------------------ */

struct parser {
    struct settings *settings;
    char **next, **end;
    char *problem;
    int status; /* of report.h */
};

static bool problem(struct parser *p, const char *format, ...) DLOCK_PRINTF(2, 3);
static bool problem(struct parser *p, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(p->problem, OPTIONS_PROBLEM_SIZE, format, arguments);
    va_end(arguments);
    p->status = STATUS_USAGE;
    return false;
}

static const struct option *option_find(enum command command, char letter, const char *name, size_t length)
{
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        const struct option *o = &options[i];
        if (!(o->commands & (1u << command)))
            continue;
        if (name ? strlen(o->name) == length && memcmp(o->name, name, length) == 0 : o->letter && o->letter == letter)
            return o;
    }
    return NULL;
}

static bool parse_number(const char *text, int64_t *ret)
{
    char *end;

    if (*text < '0' || *text > '9')
        return false;
    errno = 0;
    *ret = strtoll(text, &end, 10);
    return errno == 0 && !*end;
}

static bool parse_choice(const char *choices, const char *text, int64_t *ret)
{
    size_t length = strlen(text);

    for (int64_t i = 0;; i++) {
        size_t n = strcspn(choices, "|");
        if (n == length && memcmp(choices, text, n) == 0) {
            *ret = i;
            return true;
        }
        if (!choices[n])
            return false;
        choices += n + 1;
    }
}

/* The library knows by this where a further URL begins: a space alone may be part of a path. */
static bool begins_with_name(const char *url)
{
    size_t length = strspn(url, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+.-");

    return length > 0 && url[length] == ':' && url[length + 1] == '/';
}

/* Adds `value` to what the option's field owns. It may hold a password, so no message shows it. */
static bool add_url(struct parser *p, const struct option *o, const char *value, char **field)
{
    const char *before = *field ? *field : "", *space = *field ? " " : "";
    char *joined;

    if (*field && !begins_with_name(value))
        return problem(p, "--%s is given again; expected a further %s that starts with NAME:/", o->name, o->value);
    if (asprintf(&joined, "%s%s%s", before, space, value) < 0) {
        problem(p, "out of memory");
        p->status = STATUS_SYSTEM;
        return false;
    }
    free(*field);
    *field = joined;
    return true;
}

/* Stores `value` (NULL = a flag) in the option's field. */
static bool option_set(struct parser *p, const struct option *o, const char *value)
{
    char *field = (char *)p->settings + o->field, low[DURATION_SIZE], high[DURATION_SIZE];
    int64_t number = 0;

    switch (o->kind) {
    case FLAG:
        *(bool *)field = true;
        return true;
    case TEXT:
    case URLS:
        if (!*value)
            return problem(p, "--%s is empty; expected %s", o->name, o->value);
        if (o->kind == URLS)
            return add_url(p, o, value, (char **)field);
        *(const char **)field = value;
        return true;
    case DURATION:
        if (!duration_parse(value, &number))
            return problem(p,
                           "--%s: '%.100s' is not a time; expected a number of seconds, or one with ms, s, m or h (%s)",
                           o->name, value, "1.5, 250ms, 10m; at most 1000h");
        if (number < o->min || number > o->max)
            return problem(p, "--%s: '%.100s' is out of range; expected %s to %s", o->name, value,
                           duration_show(o->min, low), duration_show(o->max, high));
        break;
    case NUMBER:
        if (!parse_number(value, &number) || number < o->min || number > o->max)
            return problem(p, "--%s: '%.100s' is no such number; expected %" PRId64 " to %" PRId64, o->name, value,
                           o->min, o->max);
        break;
    case CHOICE:
        if (!parse_choice(o->value, value, &number))
            return problem(p, "--%s: '%.100s' is unknown; expected %s", o->name, value, o->value);
        break;
    }
    *(int64_t *)field = number;
    return true;
}

/* --name, --name=value, --name value */
static bool parse_long(struct parser *p, const char *word)
{
    size_t length = strcspn(word, "=");
    const char *value = word[length] ? word + length + 1 : NULL;
    const struct option *o = option_find(p->settings->command, 0, word, length);

    if (!o)
        return problem(p, "unknown option '--%.*s'", (int)(length < 100 ? length : 100), word);
    if (o->kind == FLAG)
        return value ? problem(p, "--%s takes no value, but was given '%.100s'", o->name, value)
                     : option_set(p, o, NULL);
    if (!value && p->next == p->end)
        return problem(p, "--%s needs a value: %s", o->name, o->value);
    return option_set(p, o, value ? value : *p->next++);
}

/* -n, -nv, -w5, -w 5 */
static bool parse_short(struct parser *p, const char *word)
{
    for (; *word; word++) {
        const struct option *o = option_find(p->settings->command, *word, NULL, 0);
        if (!o)
            return problem(p, *word >= ' ' && *word < 127 ? "unknown option '-%c'" : "unknown option", *word);
        if (o->kind == FLAG) {
            option_set(p, o, NULL);
            continue;
        }
        if (word[1])
            return option_set(p, o, word + 1);
        if (p->next == p->end)
            return problem(p, "-%c (--%s) needs a value: %s", o->letter, o->name, o->value);
        return option_set(p, o, *p->next++);
    }
    return true;
}

/* Options may stand before and after KEY; in `run`, the first word after KEY that is no option begins the command. */
static bool parse_words(struct parser *p)
{
    struct settings *s = p->settings;
    bool options_over = false;

    while (p->next < p->end) {
        char *word = *p->next++;
        bool ok = true;
        if (strcmp(word, "--") == 0 && !(options_over && !s->key)) {
            options_over = true;
            if (s->key && s->command == COMMAND_RUN)
                break;
        } else if (word[0] == '-' && word[1] && !options_over) {
            ok = word[1] == '-' ? parse_long(p, word + 2) : parse_short(p, word + 1);
        } else if (!s->key && takes_argument(s->command)) {
            s->key = word;
        } else if (s->command == COMMAND_RUN) {
            p->next--;
            break;
        } else if (s->command == COMMAND_COUNT) {
            ok = problem(p, "'%.100s' stands behind an option; expected COMMAND first", word);
        } else {
            ok = problem(p, "'%.100s' is too much; expected %s", word,
                         takes_argument(s->command) ? commands[s->command].arguments : "no argument");
        }
        if (!ok)
            return false;
        if (s->help || s->version)
            return true;
    }
    if (s->command == COMMAND_RUN)
        s->arguments = p->next;
    return true;
}

/* What does not go together, or is missing. */
static bool check(struct parser *p)
{
    const struct settings *s = p->settings;
    const int64_t ttl_ms = s->ttl_ms < 0 ? DLOCK_DEFAULT_TTL_MS : s->ttl_ms;

    if (s->command != COMMAND_LIST && takes_argument(s->command) && !s->key)
        return problem(p, "KEY is missing");
    if (s->command == COMMAND_RUN && !*s->arguments)
        return problem(p, "COMMAND is missing");
    if (s->nb && s->wait_ms >= 0)
        return problem(p, "--nb and --wait contradict each other");
    if (s->nb && s->retries >= 0)
        return problem(p, "--nb and --retries contradict each other");
    if (s->nb && s->interval_ms >= 0)
        return problem(p, "--nb and --interval contradict each other");
    if (s->wait_ms >= 0 && s->retries >= 0)
        return problem(p, "--wait and --retries contradict each other");
    if (s->quiet && s->verbose)
        return problem(p, "--quiet and --verbose contradict each other");
    if (s->quiet && s->json && s->command == COMMAND_RUN)
        return problem(p, "--quiet and --json contradict each other");
    if (s->no_renew && s->min_hold_ms > ttl_ms)
        return problem(p, "--min-hold is longer than the ttl, which --no-renew makes the end of the lock");
    return true;
}

static bool parse(struct parser *p)
{
    struct settings *s = p->settings;

    if (p->next == p->end)
        return problem(p, "COMMAND is missing");
    if (**p->next == '-')
        return parse_words(p) && (s->help || s->version || problem(p, "COMMAND is missing"));
    for (enum command c = 0; c < COMMAND_COUNT; c++)
        if (strcmp(*p->next, commands[c].name) == 0)
            s->command = c;
    if (s->command == COMMAND_COUNT)
        return problem(
            p,
            "unknown command '%.100s'; expected run, acquire, release, extend, status, list, break, check or "
            "bench",
            *p->next);
    p->next++;
    return parse_words(p) && (s->help || s->version || check(p));
}

int options_parse(struct settings *settings, int argc, char **argv, char text[OPTIONS_PROBLEM_SIZE])
{
    struct parser p = {settings, argv + (argc > 0), argv + argc, text, STATUS_OK};

    *settings = (struct settings){.command = COMMAND_COUNT,
                                  .wait_ms = -1,
                                  .retries = -1,
                                  .interval_ms = -1,
                                  .ttl_ms = -1,
                                  .max_hold_ms = -1,
                                  .min_hold_ms = -1,
                                  .kill_after_ms = -1,
                                  .time_ms = -1,
                                  .conflict_exit_code = -1,
                                  .on_lost = -1};
    *text = '\0';
    parse(&p);
    return p.status;
}

void settings_deinit(struct settings *settings)
{
    free(settings->store);
}

/* ---- help --------------------------------------------------------------------------------------------------- */

#define HELP_COLUMN 32

static void help_options(FILE *to, enum command command)
{
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        const struct option *o = &options[i];
        char left[64];
        if (!(o->commands & (1u << command)))
            continue;
        snprintf(left, sizeof left, "  %c%c%c --%s%s%s", o->letter ? '-' : ' ', o->letter ? o->letter : ' ',
                 o->letter ? ',' : ' ', o->name, o->value ? " " : "", o->value ? o->value : "");
        fprintf(to, "%-*s %s\n", HELP_COLUMN, left, o->help);
    }
}

void options_help(FILE *to, enum command command)
{
    if (command == COMMAND_COUNT) {
        fputs("Usage: dlock COMMAND [options] ...\n"
              "Locks shared between processes and machines, kept in a database.\n\n",
              to);
        for (enum command c = 0; c < COMMAND_COUNT; c++)
            fprintf(to, "  %-9s %-26s %s\n", commands[c].name, commands[c].arguments, commands[c].summary);
        fputs("\n", to);
        help_options(to, command);
        fputs("\n'dlock COMMAND --help' tells more, 'man dlock' everything.\n", to);
        return;
    }
    const char *summary = commands[command].summary;
    fprintf(to, "Usage: dlock %s [options]%s%s\n%c%s.\n\n", commands[command].name,
            *commands[command].arguments ? " " : "", commands[command].arguments, summary[0] - 'a' + 'A', summary + 1);
    help_options(to, command);
    fprintf(to, "\nSECS is a number, also 1.5, or one with a unit: 250ms, 10s, 5m, 2h.\n\nExamples:\n%s",
            commands[command].examples);
}
