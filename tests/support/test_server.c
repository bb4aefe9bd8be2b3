/* test_server.c - server.h: a server that obeys, and that a test which dies takes along. */
#include "server.h"
#include "support.h"

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static pid_t pid_of(struct server *server, int number)
{
    return (pid_t)strtol(server_tell(server, "pid %d", number), NULL, 10);
}

static bool gone(pid_t pid)
{
    return kill(pid, 0) != 0 && errno == ESRCH;
}

static void obeys(void **state)
{
    (void)state;
    struct server server;
    server_start(&server, "redis", "--nodes", "2", "--password", "a secret");
    char expected[128];
    snprintf(expected, sizeof expected, "redis://:a%%20secret@127.0.0.1:%d,127.0.0.1:%d", server_port(&server, 0),
             server_port(&server, 1));
    assert_string_equal(server.url, expected);
    const pid_t first = pid_of(&server, 0), second = pid_of(&server, 1);
    assert_string_equal(server_tell(&server, "kill 1"), "");
    assert_true(gone(second));
    assert_false(gone(first));
    server_tell(&server, "start");
    assert_string_equal(server_tell(&server, "url"), expected);
    assert_int_equal(pid_of(&server, 0), first);
    assert_int_not_equal(pid_of(&server, 1), second);
    char folder[256];
    snprintf(folder, sizeof folder, "%s", server_tell(&server, "folder"));
    assert_int_equal(access(folder, F_OK), 0);
    server_stop(&server);
    assert_true(gone(first));
    assert_int_not_equal(access(folder, F_OK), 0);
}

static void dies_with_its_test(void **state)
{
    (void)state;
    struct server server;
    int pipe_ends[2];
    struct {
        pid_t pid;
        char folder[256];
    } told;
    assert_int_equal(pipe(pipe_ends), 0);
    const pid_t child = fork();
    if (child == 0) {
        server_start(&server, "redis");
        server_tell(&server, "pause");
        told.pid = pid_of(&server, 0);
        snprintf(told.folder, sizeof told.folder, "%s", server_tell(&server, "folder"));
        if (write(pipe_ends[1], &told, sizeof told) == sizeof told)
            raise(SIGKILL);
        _exit(1);
    }
    assert_int_equal(read(pipe_ends[0], &told, sizeof told), sizeof told);
    close(pipe_ends[0]);
    close(pipe_ends[1]);
    assert_int_equal(waitpid(child, NULL, 0), child);
    wait_for(gone(told.pid));
    wait_for(access(told.folder, F_OK) != 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(obeys), cmocka_unit_test(dies_with_its_test)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
