/* internal.h - what the files of the PostgreSQL storage share: the session and a few verbs.
 *
 * postgresql.c carries out requests, options.c reads the URL, connection.c speaks with the server within the operation
 * timeout, table.c finds or makes the table, statements.c has the SQL, parameters.c what goes with it, failure.c says
 * what went wrong, watch.c wakes waiters, check.c warns. docs/storages.md describes the format. */
#ifndef DLOCK_STORAGES_POSTGRESQL_INTERNAL_H
#define DLOCK_STORAGES_POSTGRESQL_INTERNAL_H

#include "dlock_storage.h"
#include "look.h"

#include <libpq-fe.h>

/* What libpq is told to connect with: pairs, and NULL behind the last. */
struct keywords {
    const char **names, **values;
    size_t count;
    char port[8];
};

/* What the URL says, read by options.c. */
struct options {
    char *table;  /* quoted, with its schema if one is given */
    char *prefix; /* of stored keys, with its colon */
    bool repeatable_read;
};

/* The first ones are a dlock_operation each; those behind them do one for several keys, as far as nobody is in the way
 * of it. */
enum statement {
    STATEMENT_ACQUIRE = DLOCK_ACQUIRE,
    STATEMENT_EXTEND = DLOCK_EXTEND,
    STATEMENT_RELEASE = DLOCK_RELEASE,
    STATEMENT_INSPECT = DLOCK_INSPECT,
    STATEMENT_BREAK = DLOCK_BREAK,
    STATEMENT_ACQUIRE_MANY,
    STATEMENT_EXTEND_MANY,
    STATEMENT_RELEASE_MANY,
    STATEMENT_LIST,
    STATEMENT_MARK,
    STATEMENT_SWEEP,
    STATEMENT_FLUSH,
    STATEMENT_COUNT,
};

/* Why a statement failed, as the server or libpq says. */
struct failure {
    char code[6]; /* SQLSTATE; "" = the server did not say anything */
    bool panic;   /* the server is going down without having cleaned up */
    char text[DLOCK_MESSAGE_SIZE];
};

struct postgresql_session {
    const dlock_url *url;
    const dlock_storage_options *settings;
    struct options options;
    PGconn *connection;
    int64_t deadline; /* of the call that runs, by dlock_clock_us */
    struct look look; /* for an answer, before it is slept for */
    uint32_t chance;
    bool pooled;                         /* the server behind may change between two transactions */
    bool sweeps;                         /* behind the requests of this round a sweep was sent */
    bool unsure;                         /* a commit did not wait for what it should have waited for */
    char last_words[DLOCK_MESSAGE_SIZE]; /* of a server that ended the connection */
    char *sql[STATEMENT_COUNT];          /* for this table */
    bool prepared[STATEMENT_COUNT];      /* by the server, or will be when it comes to the message */
    struct watch *watch;                 /* NULL = watches nothing */
};

/* ---- options.c */

/* What it fills in is freed by options_free, also after a failure. */
dlock_status options_read(const dlock_url *url, struct options *options, dlock_error *error);
void options_free(struct options *options);

/* Quotes NAME or SCHEMA.NAME as SQL wants it; parts may come quoted. NULL = it is none, or there is no memory. */
char *options_quote_table(const char *name);

/* How many servers to try, one after the other. */
size_t options_host_count(const dlock_url *url);

/* What connects to server number `host`, freed by keywords_free; the texts are those of `url` and of *ret. */
dlock_status options_keywords(const dlock_url *url, size_t host, struct keywords *ret, dlock_error *error);
void keywords_free(struct keywords *keywords);

/* ---- connection.c */

/* A call begins, and has the operation timeout. Connects if there is no connection, or one that has ended. */
dlock_status connection_begin(struct postgresql_session *session, dlock_error *error);

/* The next result of what was sent, NULL at the end of a statement's. Waits until the deadline; false: there is none,
 * and the connection is of no more use. */
bool connection_get_result(struct postgresql_session *session, PGresult **ret);

/* Hands on what was sent, as far as the network takes it. */
bool connection_flush(struct postgresql_session *session);

/* Reads all answers of one transaction, up to its Sync: the rows of its last statement, or why it failed. *ret, which
 * may be NULL, is freed by PQclear. False: the transaction failed, or there is no answer. */
bool connection_finish(struct postgresql_session *session, PGresult **ret, struct failure *failure);

/* ---- table.c */

/* Finds the table, or makes it, and fills in session->sql and session->pooled. */
dlock_status table_open(struct postgresql_session *session, dlock_error *error);

/* ---- statements.c */

/* What statements speak of: the table, as SQL names it; its sequence, itself, and when the server was started, as
 * literals. */
struct names {
    const char *table, *sequence, *relation, *start;
};

/* Makes session->sql; false = no memory. */
bool statements_make(struct postgresql_session *session, const struct names *names);
void statements_free(struct postgresql_session *session);

/* What a statement is given; what it does not need may be left out. */
struct arguments {
    const char *key; /* as it is stored */
    const char *owner;
    uint32_t ttl_ms;
    bool lazy; /* need not be on disk when it is answered: one that follows it will wait for both */
};

/* Can several requests of this kind be sent as one statement? */
bool statements_has_many(enum statement which);

/* Sends a statement as a transaction of its own; false = the connection is of no more use, or there is no memory.
 * Several arguments are each of another key, in the order of keys, and all or none are lazy. Then the last column of
 * the rows says which of them, from 1, a row is about. No row, or one that grants nothing and names no holder, does not
 * say anything: somebody was in the way, or it is lost. */
bool statements_send(struct postgresql_session *session, enum statement which, const struct arguments *arguments,
                     size_t count);

/* The channel on which the end of holds of a key is notified. */
#define CHANNEL_SIZE 24
void statements_channel(const char *key, char ret[CHANNEL_SIZE]);

/* The key as it is stored, freed by free(); NULL = no memory. */
char *statements_key(const struct postgresql_session *session, const char *key);

/* ---- parameters.c */

enum { PARAMETER_KEY, PARAMETER_OWNER, PARAMETER_TTL, PARAMETER_CHANNEL, PARAMETER_LAZY, PARAMETERS };

/* $1 and so on, as PQsendQueryParams wants them. Texts are those of the arguments. */
struct parameters {
    Oid types[PARAMETERS];
    const char *values[PARAMETERS];
    int lengths[PARAMETERS], formats[PARAMETERS];
    char ttl_ms[sizeof(uint64_t)], channel[CHANNEL_SIZE];
    char *memory; /* of arrays */
};

/* Of more than one, arrays. Is freed by parameters_free; false = no memory. */
bool parameters_make(struct parameters *ret, const struct arguments *arguments, size_t count);
void parameters_free(struct parameters *parameters);

/* ---- failure.c */

/* Takes what a failed result says; NULL = what the connection says. */
void failure_read(struct postgresql_session *session, const PGresult *result, struct failure *ret);

/* Several wanted the same at once, and the server chose this one to try again. */
bool failure_is_contention(const struct failure *failure);

/* The transaction was certainly rolled back. */
bool failure_is_certain(const struct failure *failure);

/* What that means to the user of a lock. */
dlock_status failure_explain(const struct postgresql_session *session, const struct failure *failure,
                             dlock_error *error);

/* Why connecting failed. `reached_ssl`: the server answered, and TLS was agreed on. */
dlock_status failure_explain_connecting(PGconn *connection, bool reached_ssl, dlock_error *error);

/* ---- check.c */

dlock_status check_session(void *session, void (*warn)(void *arg, const char *text), void *arg, dlock_error *error);

/* ---- watch.c */

int watch_socket(void *session);
dlock_status watch_add(void *session, const char *key, dlock_error *error);
void watch_remove(void *session, const char *key);
dlock_status watch_hear(void *session, void (*hint)(void *arg, const char *key), void *arg, dlock_error *error);
void watch_end(struct postgresql_session *session);

#endif
