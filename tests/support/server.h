/* server.h - a private server for a C test, started by a script of tests/servers; server.py there says what it obeys.
 *
 * It is gone with server_stop, and also when the test ends without it, however it ends. */
#ifndef DLOCK_TESTS_SERVER_H
#define DLOCK_TESTS_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct server {
    char url[2048];
    char answer[2048];
    char rest[2048]; /* what was read behind the last line */
    pid_t pid;       /* of the script */
    int fd;          /* its stdin and stdout */
};

/* Starts the server of the script NAME: server_start(&server, "redis", "--nodes", "3"). One that does not start fails
 * the test. */
#define server_start(server, ...) server_run(server, (const char *const[]){__VA_ARGS__, NULL}, false)

/* The same, for servers that not every machine has: where there is none, the program ends and counts as skipped. Call
 * it in main, before any test. */
#define server_start_or_skip(server, ...) server_run(server, (const char *const[]){__VA_ARGS__, NULL}, true)

void server_run(struct server *server, const char *const *words, bool before_tests);
void server_stop(struct server *server);

/* Gives a command, made as by printf, and returns what stands behind `ok` of the answer, good until the next call.
 * `error` fails the test. By one thread at a time. */
__attribute__((format(printf, 2, 3))) const char *server_tell(struct server *server, const char *format, ...);

/* The port of one of the servers that the script started. */
int server_port(struct server *server, int number);

#endif
