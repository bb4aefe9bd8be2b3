/* wire.c - see wire.h. One thread per connection: a client sends a command, and then waits for its answer. */
#include "wire.h"

#include <arpa/inet.h>
#include <mongoc/mongoc.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define HEADER   16
#define OP_MSG   2013
#define OP_QUERY 2004
#define OP_REPLY 1

struct wire_connection {
    struct wire *wire;
    struct wire_connection *next; /* guarded by the wire's mutex */
    int client, server;
};

struct message {
    uint8_t *bytes;
    int32_t size;
};

static int32_t number_at(const uint8_t *bytes)
{
    int32_t number;
    memcpy(&number, bytes, sizeof number);
    return number; /* tests run on little-endian machines */
}

static bool read_whole(int from, uint8_t *bytes, size_t size)
{
    for (ssize_t got; size > 0; bytes += got, size -= (size_t)got) {
        got = read(from, bytes, size);
        if (got <= 0)
            return false;
    }
    return true;
}

static bool read_message(int from, struct message *ret)
{
    uint8_t header[HEADER];
    if (!read_whole(from, header, sizeof header))
        return false;
    ret->size = number_at(header);
    ret->bytes = malloc((size_t)ret->size);
    memcpy(ret->bytes, header, sizeof header);
    if (read_whole(from, ret->bytes + HEADER, (size_t)ret->size - HEADER))
        return true;
    free(ret->bytes);
    ret->bytes = NULL;
    return false;
}

static bool send_whole(int to, const uint8_t *bytes, size_t size)
{
    for (ssize_t sent; size > 0; bytes += sent, size -= (size_t)sent) {
        sent = send(to, bytes, size, MSG_NOSIGNAL);
        if (sent <= 0)
            return false;
    }
    return true;
}

/* Appends one document as JSON; returns its size. */
static int32_t describe(const uint8_t *at, char **text)
{
    bson_t document;
    const int32_t size = number_at(at);
    if (!bson_init_static(&document, at, (size_t)size))
        abort();
    char *json = bson_as_relaxed_extended_json(&document, NULL), *longer;
    if (asprintf(&longer, "%s%s", *text ? *text : "", json) < 0)
        abort();
    bson_free(json);
    free(*text);
    *text = longer;
    return size;
}

/* The command as JSON, to be freed, and its name. */
static char *describe_message(const struct message *message, char name[32])
{
    char *text = NULL;
    const uint8_t *at = message->bytes + HEADER, *end = message->bytes + message->size;
    const uint8_t *body;
    if (number_at(message->bytes + 12) == OP_QUERY) {
        at += 4;
        at += strlen((const char *)at) + 1 + 8;
        body = at;
        describe(at, &text);
    } else {
        for (at += 4, body = NULL; at < end;) {
            if (*at++ == 0) {
                body = at;
                at += describe(at, &text);
                continue;
            }
            const uint8_t *sequence_end = at + number_at(at);
            at += 4;
            for (at += strlen((const char *)at) + 1; at < sequence_end;)
                at += describe(at, &text);
        }
    }
    snprintf(name, 32, "%s", (const char *)body + 5); /* the name of the first field */
    return text;
}

static struct message make_reply(const struct message *request, const char *json)
{
    bson_error_t error;
    bson_t *document = bson_new_from_json((const uint8_t *)json, -1, &error);
    if (!document) {
        fprintf(stderr, "%s: %s\n", json, error.message);
        abort();
    }
    /* Handshakes come in the old form, and want the old form. */
    const bool old = number_at(request->bytes + 12) == OP_QUERY;
    const size_t before = HEADER + (old ? 20 : 5);
    struct message reply = {.size = (int32_t)(before + document->len)};
    reply.bytes = calloc(1, (size_t)reply.size);
    int32_t words[9] = {reply.size, 0, number_at(request->bytes + 4), old ? OP_REPLY : OP_MSG};
    words[8] = old; /* one document */
    memcpy(reply.bytes, words, old ? sizeof words : HEADER);
    memcpy(reply.bytes + before, bson_get_data(document), document->len);
    bson_destroy(document);
    return reply;
}

/* Keeps the command, and finds what is to happen to it. */
static struct wire_rule note(struct wire *wire, char *text, const char *name)
{
    struct wire_rule found = {.fault = WIRE_PASS};
    pthread_mutex_lock(&wire->mutex);
    if (wire->command_count < WIRE_COMMANDS)
        wire->commands[wire->command_count++] = text;
    else
        free(text);
    for (unsigned i = 0; i < wire->rule_count; i++) {
        struct wire_rule *rule = &wire->rules[i];
        if (strcmp(rule->command, name) != 0)
            continue;
        if (rule->skip > 0) {
            rule->skip--;
            continue;
        }
        found = *rule;
        if (!rule->always)
            *rule = wire->rules[--wire->rule_count];
        break;
    }
    pthread_mutex_unlock(&wire->mutex);
    return found;
}

static void wait_for_end(int fd)
{
    uint8_t byte;
    while (read(fd, &byte, 1) > 0) {
    }
}

/* One command and its answer; false if the connection is over. */
static bool carry(struct wire_connection *connection)
{
    struct message request, reply = {0};
    char name[32];
    if (!read_message(connection->client, &request))
        return false;
    char *text = describe_message(&request, name);
    const struct wire_rule rule = note(connection->wire, text, name);
    if (rule.call)
        rule.call(rule.arg);
    bool alive = rule.fault != WIRE_CUT && rule.fault != WIRE_SILENCE;
    if (rule.fault == WIRE_SILENCE)
        wait_for_end(connection->client);
    if (alive && rule.fault != WIRE_ANSWER)
        alive = send_whole(connection->server, request.bytes, (size_t)request.size) &&
                read_message(connection->server, &reply);
    if (alive && (rule.fault == WIRE_ANSWER || rule.fault == WIRE_REPLACE)) {
        free(reply.bytes);
        reply = make_reply(&request, rule.reply);
    }
    alive = alive && rule.fault != WIRE_SWALLOW && send_whole(connection->client, reply.bytes, (size_t)reply.size);
    free(reply.bytes);
    free(request.bytes);
    return alive;
}

static void *serve(void *arg)
{
    struct wire_connection *connection = arg;
    struct wire *wire = connection->wire;
    while (carry(connection)) {
    }
    pthread_mutex_lock(&wire->mutex);
    struct wire_connection **link = &wire->connections;
    while (*link != connection)
        link = &(*link)->next;
    *link = connection->next;
    close(connection->client);
    close(connection->server);
    free(connection);
    pthread_mutex_unlock(&wire->mutex);
    return NULL;
}

static int connect_to(const char *host, int port)
{
    char service[8];
    struct addrinfo *address, hints = {.ai_socktype = SOCK_STREAM};
    snprintf(service, sizeof service, "%d", port);
    if (getaddrinfo(host, service, &hints, &address) != 0)
        return -1;
    int fd = socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(fd, address->ai_addr, address->ai_addrlen) != 0) {
        close(fd);
        fd = -1;
    } else {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    }
    freeaddrinfo(address);
    return fd;
}

static void *accept_all(void *arg)
{
    struct wire *wire = arg;
    for (int client; (client = accept4(wire->listener, NULL, NULL, SOCK_CLOEXEC)) >= 0;) {
        struct wire_connection *connection = malloc(sizeof *connection);
        *connection = (struct wire_connection){
            .wire = wire, .client = client, .server = connect_to(wire->host, wire->server_port)};
        setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
        pthread_t thread;
        pthread_mutex_lock(&wire->mutex);
        connection->next = wire->connections;
        wire->connections = connection;
        pthread_mutex_unlock(&wire->mutex);
        if (pthread_create(&thread, NULL, serve, connection) != 0)
            abort();
        pthread_detach(thread);
    }
    return NULL;
}

void wire_start(struct wire *wire, const char *host, int port)
{
    *wire = (struct wire){.host = host, .server_port = port};
    pthread_mutex_init(&wire->mutex, NULL);
    wire->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t size = sizeof address;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (bind(wire->listener, (struct sockaddr *)&address, sizeof address) != 0 || listen(wire->listener, 16) != 0 ||
        getsockname(wire->listener, (struct sockaddr *)&address, &size) != 0)
        abort();
    wire->port = ntohs(address.sin_port);
    if (pthread_create(&wire->thread, NULL, accept_all, wire) != 0)
        abort();
}

/* Ends the connections that a failed test has left. */
static bool is_quiet(struct wire *wire)
{
    pthread_mutex_lock(&wire->mutex);
    for (struct wire_connection *each = wire->connections; each; each = each->next) {
        shutdown(each->client, SHUT_RDWR);
        shutdown(each->server, SHUT_RDWR);
    }
    const bool quiet = !wire->connections;
    pthread_mutex_unlock(&wire->mutex);
    return quiet;
}

void wire_stop(struct wire *wire)
{
    shutdown(wire->listener, SHUT_RDWR);
    pthread_join(wire->thread, NULL);
    close(wire->listener);
    while (!is_quiet(wire))
        poll(NULL, 0, 1);
    wire_clear(wire);
    pthread_mutex_destroy(&wire->mutex);
}

void wire_add(struct wire *wire, struct wire_rule rule)
{
    pthread_mutex_lock(&wire->mutex);
    if (wire->rule_count == WIRE_RULES)
        abort();
    wire->rules[wire->rule_count++] = rule;
    pthread_mutex_unlock(&wire->mutex);
}

void wire_clear(struct wire *wire)
{
    pthread_mutex_lock(&wire->mutex);
    wire->rule_count = 0;
    for (unsigned i = 0; i < wire->command_count; i++)
        free(wire->commands[i]);
    wire->command_count = 0;
    pthread_mutex_unlock(&wire->mutex);
}

char *wire_names(struct wire *wire)
{
    char *names = strdup("");
    pthread_mutex_lock(&wire->mutex);
    for (unsigned i = 0; i < wire->command_count; i++) {
        const char *name = strchr(wire->commands[i], '"') + 1;
        char *longer;
        if (asprintf(&longer, "%s%s%.*s", names, *names ? " " : "", (int)strcspn(name, "\""), name) < 0)
            abort();
        free(names);
        names = longer;
    }
    pthread_mutex_unlock(&wire->mutex);
    return names;
}

unsigned wire_count(struct wire *wire, const char *text)
{
    unsigned count = 0;
    pthread_mutex_lock(&wire->mutex);
    for (unsigned i = 0; i < wire->command_count; i++)
        count += strstr(wire->commands[i], text) != NULL;
    pthread_mutex_unlock(&wire->mutex);
    return count;
}
