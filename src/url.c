/* url.c - see url.h. One allocation per URL: the struct, its lists, the text and the decoded parts behind it.
 *
 * Called by factory.c; dlock_url_get by storages. A part of the URL is shown in a message only where it cannot be a
 * password, also if the user forgot to encode one; else the message counts bytes from 1. */
#include "url.h"

#include "storages.h"
#include "utf8.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define DIGITS  "0123456789"

struct parser {
    dlock_url *url;
    dlock_url_host *hosts;
    dlock_url_parameter *parameters;
    char *free, *end; /* of the space for decoded parts */
    size_t offset;    /* of the URL in the text that it is a part of */
    dlock_error *error;
};

/* A stretch of the text that is not decoded yet. */
struct span {
    const char *start, *end;
};

static bool is_empty(struct span span)
{
    return span.start == span.end;
}

/* The first `c` in `span`, or NULL. */
static const char *find(struct span span, char c)
{
    return memchr(span.start, c, (size_t)(span.end - span.start));
}

/* Cuts off and returns what is before the first `c`; all of it if there is none. */
static struct span cut(struct span *span, char c)
{
    const char *at = find(*span, c);
    const struct span before = {span->start, at ? at : span->end};
    span->start = at ? at + 1 : span->end;
    return before;
}

static size_t position(const struct parser *parser, const char *at)
{
    return parser->offset + (size_t)(at - parser->url->text) + 1;
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

/* Decodes `span` into *ret, which lives as long as the URL. */
static dlock_status decode(struct parser *parser, struct span span, const char **ret)
{
    char *const start = parser->free, *out = start;
    for (const char *in = span.start; in < span.end; in++) {
        char c = *in;
        if (c == '%') {
            const int high = span.end - in > 2 ? hex_value(in[1]) : -1, low = high >= 0 ? hex_value(in[2]) : -1;
            if (low < 0)
                return dlock_error_set(parser->error, DLOCK_INVALID,
                                       "URL: byte %zu: two hexadecimal digits must follow %% (a %% itself is %%25)",
                                       position(parser, in));
            c = (char)(high << 4 | low);
            if (c == '\0')
                return dlock_error_set(parser->error, DLOCK_INVALID, "URL: byte %zu: %%00 is not allowed",
                                       position(parser, in));
            in += 2;
        }
        *out++ = c;
    }
    *out++ = '\0';
    assert(out <= parser->end);
    if (!utf8_valid(start, (size_t)(out - 1 - start)))
        return dlock_error_set(parser->error, DLOCK_INVALID, "URL: bytes %zu to %zu are not valid UTF-8",
                               position(parser, span.start), position(parser, span.end) - 1);
    parser->free = out;
    *ret = start;
    return DLOCK_OK;
}

static dlock_status parse_port(struct parser *parser, struct span span, uint16_t *ret)
{
    unsigned port = 0;
    for (const char *at = span.start; at < span.end && port <= UINT16_MAX; at++)
        port = *at >= '0' && *at <= '9' ? port * 10 + (unsigned)(*at - '0') : UINT16_MAX + 1u;
    if (port < 1 || port > UINT16_MAX)
        return dlock_error_set(parser->error, DLOCK_INVALID, "URL: byte %zu: a port is a number from 1 to 65535",
                               position(parser, span.start));
    *ret = (uint16_t)port;
    return DLOCK_OK;
}

/* Cuts [address] off `span`. */
static dlock_status cut_brackets(struct parser *parser, struct span *span, struct span *ret)
{
    const size_t where = position(parser, span->start);
    span->start++;
    const struct span address = cut(span, ']');
    const struct span digits = {address.start, find(address, '%') ? find(address, '%') : address.end};
    if (address.end[0] != ']' || !find(digits, ':') ||
        strspn(digits.start, DIGITS "abcdefABCDEF:.") < (size_t)(digits.end - digits.start))
        return dlock_error_set(parser->error, DLOCK_INVALID, "URL: byte %zu: [ and ] enclose an IPv6 address", where);
    if (!is_empty(*span) && span->start[0] != ':')
        return dlock_error_set(parser->error, DLOCK_INVALID, "URL: byte %zu: :port or nothing is expected after ]",
                               position(parser, span->start));
    *ret = address;
    return DLOCK_OK;
}

static dlock_status parse_host(struct parser *parser, struct span span)
{
    dlock_url_host *host = &parser->hosts[parser->url->host_count];
    if (is_empty(span))
        return dlock_error_set(parser->error, DLOCK_INVALID, "URL: byte %zu: a host is missing",
                               position(parser, span.start));
    struct span name;
    dlock_status status = DLOCK_OK;
    if (span.start[0] == '[') {
        status = cut_brackets(parser, &span, &name);
        if (status != DLOCK_OK)
            return status;
    } else {
        name = (struct span){span.start, find(span, ':') ? find(span, ':') : span.end};
        span.start = name.end;
    }
    if (!is_empty(span)) {
        span.start++;
        if (find(span, ':'))
            return dlock_error_set(parser->error, DLOCK_INVALID,
                                   "URL: byte %zu: one : is expected between host and port; an IPv6 address is "
                                   "written in [ and ]",
                                   position(parser, name.start));
        status = parse_port(parser, span, &host->port);
    }
    if (status == DLOCK_OK)
        status = decode(parser, name, &host->name);
    if (status == DLOCK_OK)
        parser->url->host_count++;
    return status;
}

/* [user[:password]@]host[:port][,...]. The last @ counts, in case that one in a password is not encoded. */
static dlock_status parse_authority(struct parser *parser, struct span span)
{
    dlock_status status = DLOCK_OK;
    const char *at = memrchr(span.start, '@', (size_t)(span.end - span.start));
    if (at) {
        struct span password = {span.start, at};
        const struct span user = cut(&password, ':');
        if (!is_empty(user))
            status = decode(parser, user, &parser->url->user);
        if (status == DLOCK_OK && user.end < at)
            status = decode(parser, password, &parser->url->password);
        span.start = at + 1;
    }
    if (is_empty(span))
        return status;
    while (status == DLOCK_OK) {
        const struct span host = cut(&span, ',');
        status = parse_host(parser, host);
        if (host.end == span.end)
            break;
    }
    return status;
}

static dlock_status parse_parameter(struct parser *parser, struct span value)
{
    dlock_url *url = parser->url;
    dlock_url_parameter *parameter = &parser->parameters[url->parameter_count];
    const size_t where = position(parser, value.start);
    const struct span name = cut(&value, '=');
    if (is_empty(name) || name.end[0] != '=')
        return dlock_error_set(parser->error, DLOCK_INVALID, "URL: byte %zu: name=value is expected after ? and &",
                               where);
    dlock_status status = decode(parser, name, &parameter->name);
    if (status == DLOCK_OK)
        status = decode(parser, value, &parameter->value);
    if (status == DLOCK_OK && dlock_url_get(url, parameter->name))
        status = dlock_error_set(parser->error, DLOCK_INVALID, "URL: byte %zu: parameter \"%s\" is given twice", where,
                                 parameter->name);
    if (status == DLOCK_OK)
        url->parameter_count++;
    return status;
}

static dlock_status parse_parameters(struct parser *parser, struct span span)
{
    dlock_status status = DLOCK_OK;
    while (status == DLOCK_OK) {
        const struct span parameter = cut(&span, '&');
        status = parse_parameter(parser, parameter);
        if (parameter.end == span.end)
            break;
    }
    return status;
}

static dlock_status parse_scheme(struct parser *parser, struct span span)
{
    dlock_status status = decode(parser, span, &parser->url->scheme);
    if (status != DLOCK_OK)
        return status;
    for (char *c = parser->free - 1 - (span.end - span.start); *c; c++)
        if (*c >= 'A' && *c <= 'Z')
            *c = (char)(*c - 'A' + 'a');
    return DLOCK_OK;
}

/* Parses what is behind `scheme:`. */
static dlock_status parse_rest(struct parser *parser, struct span rest)
{
    dlock_status status = DLOCK_OK;
    const bool has_parameters = find(rest, '?') != NULL;
    struct span hierarchy = cut(&rest, '?');
    if (hierarchy.end - hierarchy.start >= 2 && memcmp(hierarchy.start, "//", 2) == 0) {
        hierarchy.start += 2;
        const char *slash = find(hierarchy, '/');
        const struct span authority = {hierarchy.start, slash ? slash : hierarchy.end};
        hierarchy.start = authority.end;
        status = parse_authority(parser, authority);
    }
    if (status == DLOCK_OK && !is_empty(hierarchy))
        status = decode(parser, hierarchy, &parser->url->path);
    if (status == DLOCK_OK && has_parameters && !is_empty(rest))
        status = parse_parameters(parser, rest);
    return status;
}

static size_t count(const char *text, char c)
{
    size_t n = 0;
    for (; *text; text++)
        n += *text == c;
    return n;
}

/* Decoded parts and their ends fit into as many bytes as the text: each has a delimiter of its own in it. */
static dlock_status allocate(struct parser *parser, const char *text)
{
    const size_t size = strlen(text) + 1, hosts = count(text, ',') + 1, parameters = count(text, '&') + 1;
    dlock_url *url =
        calloc(1, sizeof *url + hosts * sizeof *url->hosts + parameters * sizeof *url->parameters + 2 * size);
    if (!url)
        return dlock_error_set(parser->error, DLOCK_NOMEM, "out of memory");
    parser->url = url;
    parser->hosts = (dlock_url_host *)(url + 1);
    parser->parameters = (dlock_url_parameter *)(parser->hosts + hosts);
    char *copy = (char *)(parser->parameters + parameters);
    memcpy(copy, text, size);
    url->text = copy;
    url->hosts = parser->hosts;
    url->parameters = parser->parameters;
    parser->free = copy + size;
    parser->end = parser->free + size;
    return DLOCK_OK;
}

static dlock_status refuse_without_scheme(const char *text, dlock_error *error)
{
    if (strchr(text, '@'))
        return dlock_error_set(error, DLOCK_INVALID, "URL: it must start with the name of a storage and a colon");
    return dlock_error_set(error, DLOCK_INVALID,
                           "URL: \"%s\" does not start with the name of a storage; for a file write %s%s", text,
                           storages_default_url, text);
}

/* Where the URL that `text` begins with ends: before spaces that another one follows. A space alone may be part of a
 * path. */
static const char *find_end(const char *text)
{
    for (const char *end = strchr(text, ' '); end; end = strchr(end + 1, ' ')) {
        const char *next = end + strspn(end, " ");
        const size_t scheme = strspn(next, LETTERS DIGITS "+.-");
        if (scheme > 0 && next[scheme] == ':' && next[scheme + 1] == '/')
            return end;
    }
    return text + strlen(text);
}

static dlock_status parse_one(const char *text, size_t offset, dlock_url **ret, dlock_error *error)
{
    const size_t scheme = strspn(text, LETTERS DIGITS "+.-");
    if (scheme == 0 || !memchr(LETTERS, text[0], sizeof LETTERS - 1) || text[scheme] != ':')
        return refuse_without_scheme(text, error);

    struct parser parser = {.offset = offset, .error = error};
    dlock_status status = allocate(&parser, text);
    if (status != DLOCK_OK)
        return status;
    const char *start = parser.url->text;
    status = parse_scheme(&parser, (struct span){start, start + scheme});
    if (status == DLOCK_OK)
        status = parse_rest(&parser, (struct span){start + scheme + 1, start + strlen(start)});
    if (status == DLOCK_OK)
        *ret = parser.url;
    else
        free(parser.url);
    return status;
}

dlock_status url_parse(const char *text, dlock_url **ret, dlock_error *error)
{
    dlock_url *first = NULL;
    const dlock_url **link = (const dlock_url **)&first;
    dlock_status status = DLOCK_OK;
    const char *at = text;
    do {
        const char *end = find_end(at);
        char *piece = strndup(at, (size_t)(end - at));
        dlock_url *url = NULL;
        status = piece ? parse_one(piece, (size_t)(at - text), &url, error)
                       : dlock_error_set(error, DLOCK_NOMEM, "out of memory");
        free(piece);
        *link = url;
        if (url)
            link = &url->next;
        at = end + strspn(end, " ");
    } while (status == DLOCK_OK && *at);
    if (status == DLOCK_OK)
        *ret = first;
    else
        url_free(first);
    return status;
}

void url_free(dlock_url *url)
{
    while (url) {
        dlock_url *next = (dlock_url *)url->next;
        free(url);
        url = next;
    }
}

const char *dlock_url_get(const dlock_url *url, const char *name)
{
    for (size_t i = 0; i < url->parameter_count; i++)
        if (strcmp(url->parameters[i].name, name) == 0)
            return url->parameters[i].value;
    return NULL;
}

/* Writes a decoded part; bytes of `special`, % and control characters are encoded again. */
static void show_part(FILE *out, const char *part, const char *special)
{
    for (; *part; part++)
        if ((unsigned char)*part < ' ' || *part == '%' || *part == 0x7F || strchr(special, *part))
            fprintf(out, "%%%02X", (unsigned char)*part);
        else
            fputc(*part, out);
}

static bool may_be_secret(const char *name)
{
    static const char *const words[] = {"pass", "pwd", "secret", "token", "key", "cred", "auth"};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (strcasestr(name, words[i]))
            return true;
    return false;
}

static void show_authority(FILE *out, const dlock_url *url)
{
    static const char special[] = ":/?@,[]";
    if (url->user)
        show_part(out, url->user, special);
    if (url->password)
        fputs(":***", out);
    if (url->user || url->password)
        fputc('@', out);
    for (size_t i = 0; i < url->host_count; i++) {
        const dlock_url_host *host = &url->hosts[i];
        const bool brackets = strchr(host->name, ':') != NULL;
        fputs(i ? "," : "", out);
        fputs(brackets ? "[" : "", out);
        show_part(out, host->name, brackets ? "?" : special);
        fputs(brackets ? "]" : "", out);
        if (host->port)
            fprintf(out, ":%u", (unsigned)host->port);
    }
}

static void show_url(FILE *out, const dlock_url *url)
{
    fprintf(out, "%s:", url->scheme);
    if (url->host_count || url->user || url->password || (url->path && strncmp(url->path, "//", 2) == 0)) {
        fputs("//", out);
        show_authority(out, url);
    }
    if (url->path)
        show_part(out, url->path, "?");
    for (size_t i = 0; i < url->parameter_count; i++) {
        const dlock_url_parameter *parameter = &url->parameters[i];
        fputc(i ? '&' : '?', out);
        show_part(out, parameter->name, "&=");
        fputc('=', out);
        if (may_be_secret(parameter->name))
            fputs("***", out);
        else
            show_part(out, parameter->value, "&");
    }
}

char *url_show(const dlock_url *urls)
{
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    if (!out)
        return NULL;
    for (const dlock_url *url = urls; url; url = url->next) {
        show_url(out, url);
        fputs(url->next ? " " : "", out);
    }
    const bool failed = ferror(out) != 0;
    if (fclose(out) != 0 || failed) {
        free(text);
        return NULL;
    }
    return text;
}
