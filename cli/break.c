/* break.c - dlock break: takes a lock away from its holder, if a person or --force says so.
 *
 * Called by main.c. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "commands.h"
#include "json.h"
#include "report.h"
#include "text.h"

static bool answer_is_yes(void)
{
    char answer[16];

    if (!fgets(answer, sizeof answer, stdin))
        return false;
    answer[strcspn(answer, "\n")] = '\0';
    return strcasecmp(answer, "y") == 0 || strcasecmp(answer, "yes") == 0;
}

/* Returns 0 if the lock may be broken, else the exit status. */
static int ask(dlock_factory *factory, const struct settings *s)
{
    char key[TEXT_KEY_SIZE], who[HOLDER_TEXT_SIZE];
    dlock_error error;
    dlock_info info;

    if (dlock_inspect(factory, s->key, &info, &error) != DLOCK_OK)
        return report_failure(&error);
    if (!*info.owner) {
        report_error("'%s' is free", s->key);
        return STATUS_FREE;
    }
    fprintf(stderr,
            "%s is held by %s.\nIts holder may still be working, and another one could start beside it.\n"
            "Break the lock? [y/N] ",
            text_escape(s->key, key, sizeof key), holder_show(&info, who));
    if (answer_is_yes())
        return 0;
    report_error("not broken");
    return STATUS_FREE;
}

static void print_broken(const struct settings *s, const dlock_info *broken)
{
    char key[TEXT_KEY_SIZE], who[HOLDER_TEXT_SIZE];
    struct json j;

    if (s->json) {
        json_begin(&j);
        json_text(&j, "key", s->key);
        json_object(&j, "broken");
        json_info(&j, broken);
        json_object_end(&j);
        json_end(&j);
        puts(j.text);
    } else {
        printf("%s: broken, was held by %s\n", text_escape(s->key, key, sizeof key), holder_show(broken, who));
    }
}

int command_break(const struct settings *s)
{
    dlock_factory *factory = NULL;
    dlock_error error;
    dlock_info broken;
    int status = 0;

    if (!s->force && !isatty(STDIN_FILENO)) {
        report_error("standard input is no terminal, so there is nobody to ask; give --force to break it all the same");
        return STATUS_USAGE;
    }
    dlock_status answer = dlock_factory_open(s->store, NULL, &factory, &error);
    if (answer == DLOCK_OK && !s->force)
        status = ask(factory, s);
    if (answer == DLOCK_OK && status == 0)
        answer = dlock_break(factory, s->key, &broken, &error);
    if (answer == DLOCK_LOST) {
        report_error("'%s' is free", s->key);
        status = STATUS_FREE;
    } else if (answer != DLOCK_OK) {
        status = report_failure(&error);
    } else if (status == 0) {
        print_broken(s, &broken);
    }
    dlock_factory_close(factory);
    return report_output(status);
}
