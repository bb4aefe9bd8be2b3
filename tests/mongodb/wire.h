/* wire.h - a proxy that reads MongoDB's messages, between a session and a real server.
 *
 * It counts and keeps the commands that pass, and makes one of them fail: it is cut off, or the server's answer is
 * replaced by one that this server never gives, such as that of a member that is no primary. `call` of a rule runs
 * before the command is handed on: what other clients do in that moment. */
#ifndef DLOCK_TESTS_MONGODB_WIRE_H
#define DLOCK_TESTS_MONGODB_WIRE_H

#include <pthread.h>
#include <stdbool.h>

enum wire_fault {
    WIRE_PASS,
    WIRE_CUT,     /* the command does not arrive */
    WIRE_SWALLOW, /* it is carried out, and the connection cut */
    WIRE_ANSWER,  /* it does not arrive, and `reply` is the answer */
    WIRE_REPLACE, /* it is carried out, and `reply` is the answer */
    WIRE_SILENCE, /* it does not arrive, and nothing more is heard */
};

struct wire_rule {
    const char *command; /* its name */
    unsigned skip;       /* so many of them pass before */
    enum wire_fault fault;
    const char *reply; /* JSON */
    void (*call)(void *arg);
    void *arg;
    bool always; /* for all that follow, not only one */
};

#define WIRE_RULES    4
#define WIRE_COMMANDS 4096

struct wire {
    int port;
    const char *host; /* of the server */
    int listener, server_port;
    pthread_t thread;
    pthread_mutex_t mutex; /* guards the rest */
    struct wire_rule rules[WIRE_RULES];
    unsigned rule_count;
    struct wire_connection *connections;
    char *commands[WIRE_COMMANDS]; /* as JSON, with the documents of their sequences behind it */
    unsigned command_count;
};

/* `host` is to live as long as it does. */
void wire_start(struct wire *wire, const char *host, int port);
void wire_stop(struct wire *wire);
void wire_add(struct wire *wire, struct wire_rule rule);

/* Forgets rules and commands. */
void wire_clear(struct wire *wire);

/* The names of the commands that came since, with spaces between. To be freed. */
char *wire_names(struct wire *wire);

/* How many of them contain this text. */
unsigned wire_count(struct wire *wire, const char *text);

#endif
