/* fuzz_url.c - fuzz target: the parsing and showing of storage URLs.
 *
 * Any text is either refused with a message or parsed; neither the message nor what is shown holds the password. */
#include "require.h"
#include "url.h"

#include <stdint.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Passwords shorter than this may occur by chance elsewhere, such as "a". */
#define SECRET_MIN 8

/* The text between the first ':' behind "//" and the last '@' before the path: what people take for the password. */
static char *copy_secret(const char *text)
{
    const char *start = strstr(text, "://");
    if (!start)
        return NULL;
    start += 3;
    const size_t length = strcspn(start, "/?#");
    const char *colon = memchr(start, ':', length);
    const char *at = memrchr(start, '@', length);
    if (!colon || !at || at - colon - 1 < SECRET_MIN)
        return NULL;
    return strndup(colon + 1, (size_t)(at - colon - 1));
}

static unsigned occurrences(const char *text, const char *part)
{
    unsigned count = 0;
    for (const char *at = text; (at = strstr(at, part)); at++)
        count++;
    return count;
}

static void check_one(const char *text, const dlock_url *url, const char *shown)
{
    REQUIRE(url->scheme && url->scheme[0]);
    REQUIRE(!url->host_count || url->hosts);
    for (size_t i = 0; i < url->host_count; i++)
        REQUIRE(url->hosts[i].name);
    for (size_t i = 0; i < url->parameter_count; i++)
        REQUIRE(dlock_url_get(url, url->parameters[i].name) == url->parameters[i].value);
    if (url->password && strlen(url->password) >= SECRET_MIN && !strchr(text, '%') &&
        occurrences(text, url->password) == 1)
        REQUIRE(occurrences(shown, url->password) == 0);
}

/* The texts of all URLs, with the spaces between them, are the text that was given. */
static void check_parsed(const char *text, const dlock_url *urls)
{
    const char *at = text;
    char *shown = url_show(urls);
    REQUIRE(shown && shown[0]);
    for (const dlock_url *url = urls; url; url = url->next) {
        const size_t length = strlen(url->text);
        REQUIRE(strncmp(at, url->text, length) == 0);
        at += length;
        REQUIRE(url->next ? *at == ' ' : !*at);
        at += url->next ? strspn(at, " ") : 0;
        check_one(text, url, shown);
    }
    free(shown);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1);
    if (!text)
        return 0;
    memcpy(text, data, size);
    text[size] = '\0';

    dlock_url *const untouched = (dlock_url *)text, *url = untouched;
    dlock_error error = {0};
    const dlock_status status = url_parse(text, &url, &error);
    if (status == DLOCK_OK) {
        check_parsed(text, url);
        url_free(url);
    } else {
        REQUIRE(status == DLOCK_INVALID && error.status == status);
        REQUIRE(url == untouched);
        REQUIRE(error.message[0] && memchr(error.message, '\0', sizeof error.message));
        char *secret = copy_secret(text);
        if (secret && occurrences(text, secret) == 1)
            REQUIRE(occurrences(error.message, secret) == 0);
        free(secret);
    }
    free(text);
    return 0;
}
