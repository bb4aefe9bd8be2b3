/* fuzz_options.c - fuzz target: the command line of dlock, and its durations.
 *
 * The input is a list of words, one a line. Any list is either refused with a message or understood, with every number
 * in its range; what was read until then is freed either way. */
#include "duration.h"
#include "options.h"
#include "report.h"
#include "require.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define WORDS_MAX 64

static void check_duration(const char *word)
{
    int64_t ms = -7;
    if (duration_parse(word, &ms)) {
        REQUIRE(ms >= 0 && ms <= DURATION_MAX_MS);
        char shown[DURATION_SIZE];
        REQUIRE(duration_show(ms, shown) == shown);
        REQUIRE(memchr(shown, '\0', sizeof shown) && shown[0]);
    } else {
        REQUIRE(ms == -7);
    }
}

static void check_understood(const struct settings *settings)
{
    const int64_t durations[] = {settings->wait_ms,     settings->interval_ms, settings->ttl_ms,
                                 settings->max_hold_ms, settings->min_hold_ms, settings->kill_after_ms};
    for (size_t i = 0; i < sizeof durations / sizeof *durations; i++)
        REQUIRE(durations[i] >= -1 && durations[i] <= DURATION_MAX_MS);
    REQUIRE(settings->conflict_exit_code >= -1 && settings->conflict_exit_code <= 255);
    REQUIRE(settings->command <= COMMAND_COUNT);
    REQUIRE(!settings->store || settings->store[0]);
    if (settings->command == COMMAND_RUN && !settings->help && !settings->version)
        REQUIRE(settings->key && settings->arguments && settings->arguments[0]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1);
    if (!text)
        return 0;
    memcpy(text, data, size);
    text[size] = '\0';

    char name[] = "dlock", *words[WORDS_MAX + 1] = {name};
    int count = 1;
    for (char *rest = text; rest && count < WORDS_MAX;) {
        char *word = strsep(&rest, "\n");
        words[count++] = word;
        check_duration(word);
    }

    struct settings settings;
    char problem[OPTIONS_PROBLEM_SIZE] = "";
    const int status = options_parse(&settings, count, words, problem);
    if (status == STATUS_OK)
        check_understood(&settings);
    else
        REQUIRE(problem[0] && memchr(problem, '\0', sizeof problem));
    REQUIRE(status == STATUS_OK || status == STATUS_USAGE || status == STATUS_SYSTEM);
    REQUIRE(options_command_name(settings.command));
    settings_deinit(&settings);
    free(text);
    return 0;
}
