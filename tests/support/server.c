/* server.c - see server.h. */
#include "server.h"

#include "support.h"

#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define WORDS_MAX 32

/* Reads a line into `line`, without its end; "" if the script is gone. */
static void read_line(struct server *server, char *line, size_t size)
{
    char *end;
    size_t length = strlen(server->rest);
    while (!(end = strchr(server->rest, '\n'))) {
        assert_true(length + 1 < sizeof server->rest);
        const ssize_t count = read(server->fd, server->rest + length, sizeof server->rest - 1 - length);
        if (count <= 0) {
            line[0] = '\0';
            return;
        }
        length += (size_t)count;
        server->rest[length] = '\0';
    }
    *end = '\0';
    snprintf(line, size, "%s", server->rest);
    memmove(server->rest, end + 1, strlen(end + 1) + 1);
}

/* Starts the script and reads its first line into `url`. */
static void run_script(struct server *server, const char *const *words)
{
    char path[512];
    char *copies[WORDS_MAX + 1] = {path};
    snprintf(path, sizeof path, "%s/%s", SERVERS_FOLDER, words[0]);
    for (size_t i = 1; words[i]; i++) {
        assert_true(i < WORDS_MAX);
        copies[i] = strdup(words[i]);
    }

    int pair[2];
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    memset(server, 0, sizeof *server);
    /* One descriptor for both ways, which no child of the test inherits: when the test is gone, the script sees an end.
     */
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, pair[1], STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&actions, pair[1], STDOUT_FILENO);
    /* What kills the test's process group must leave the script time to clean up. */
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSID);
    const int problem = posix_spawn(&server->pid, path, &actions, &attributes, copies, environ);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    for (size_t i = 1; i < WORDS_MAX; i++)
        free(copies[i]);
    close(pair[1]);
    server->fd = pair[0];
    if (problem)
        fail_msg("%s: %s", path, strerror(problem));
    read_line(server, server->url, sizeof server->url);
}

void server_run(struct server *server, const char *const *words, bool before_tests)
{
    run_script(server, words);
    const size_t first = strcspn(server->url, " ");
    if (first > 0 && server->url[first] == '\0')
        return;
    if (!before_tests)
        fail_msg("tests/servers/%s: %s", words[0], server->url);
    const bool skip = strncmp(server->url, "skip ", 5) == 0;
    if (skip)
        printf("1..0 # SKIP %s\n", server->url + 5);
    else
        printf("1..1\nnot ok 1 - tests/servers/%s: %s\n", words[0], server->url);
    exit(skip ? 0 : 1);
}

void server_stop(struct server *server)
{
    int status;
    close(server->fd);
    assert_int_equal(waitpid(server->pid, &status, 0), server->pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

const char *server_tell(struct server *server, const char *format, ...)
{
    char command[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(command, sizeof command - 1, format, arguments);
    va_end(arguments);
    const size_t length = strlen(command);
    command[length] = '\n';
    const ssize_t sent = send(server->fd, command, length + 1, MSG_NOSIGNAL);
    command[length] = '\0';
    server->answer[0] = '\0';
    if (sent == (ssize_t)length + 1)
        read_line(server, server->answer, sizeof server->answer);
    if (strncmp(server->answer, "ok", 2) != 0)
        fail_msg("server: %s: %s", command, server->answer[0] ? server->answer : "no answer");
    return server->answer + strlen(server->answer[2] ? "ok " : "ok");
}

int server_port(struct server *server, int number)
{
    return (int)strtol(server_tell(server, "port %d", number), NULL, 10);
}
