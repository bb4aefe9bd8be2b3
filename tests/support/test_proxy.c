/* test_proxy.c - the faults of proxy.h, in front of a real server: a Redis, which understands lines. */
#include "proxy.h"
#include "server.h"
#include "support.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static struct server server;
static struct proxy proxy;

/* ---- a client ------------------------------------------------------------------------------------------------- */

static int try_connect(int port, int flags)
{
    const struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);
    assert_true(fd >= 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &(struct timeval){.tv_sec = 30}, sizeof(struct timeval));
    if (connect(fd, (const struct sockaddr *)&address, sizeof address) == 0 || errno == EINPROGRESS)
        return fd;
    close(fd);
    return -1;
}

static int connected(int port)
{
    const int fd = try_connect(port, 0);
    assert_true(fd >= 0);
    return fd;
}

static void say(int fd, const char *text)
{
    assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

/* Reads as much as is expected, and compares. Returns in how many pieces it came. */
static int hear(int fd, const char *expected)
{
    char buffer[4096] = "";
    size_t length = 0;
    int pieces = 0;
    while (length < strlen(expected)) {
        const ssize_t count = recv(fd, buffer + length, sizeof buffer - 1 - length, 0);
        assert_true(count > 0);
        length += (size_t)count;
        pieces++;
    }
    assert_string_equal(buffer, expected);
    return pieces;
}

static void hear_end(int fd, enum proxy_cut how)
{
    char byte;
    const ssize_t count = recv(fd, &byte, 1, 0);
    if (how == PROXY_FIN)
        assert_int_equal(count, 0);
    else
        assert_true(count < 0 && errno == ECONNRESET);
}

static bool quiet(int fd)
{
    return poll(&(struct pollfd){.fd = fd, .events = POLLIN}, 1, 0) == 0;
}

/* The number that the server has under `n`, asked past the proxy. */
static int number(void)
{
    char answer[64] = "";
    const int fd = connected(server_port(&server, 0));
    say(fd, "STRLEN n\r\n");
    assert_true(recv(fd, answer, sizeof answer - 1, 0) > 1);
    close(fd);
    return (int)strtol(answer + 1, NULL, 10);
}

/* How many connections the server has, without the one that asks. */
static int clients(void)
{
    char answer[1024] = "";
    const int fd = connected(server_port(&server, 0));
    say(fd, "INFO clients\r\n");
    assert_true(recv(fd, answer, sizeof answer - 1, 0) > 0);
    close(fd);
    const char *line = strstr(answer, "connected_clients:");
    assert_non_null(line);
    return (int)strtol(line + strlen("connected_clients:"), NULL, 10) - 1;
}

static int set_up(void **state)
{
    (void)state;
    const int fd = connected(server_port(&server, 0));
    say(fd, "DEL n\r\n");
    char answer[16];
    assert_true(recv(fd, answer, sizeof answer, 0) > 0);
    close(fd);
    proxy_start(&proxy, "127.0.0.1", server_port(&server, 0));
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    proxy_stop(&proxy);
    return 0;
}

/* ---- cases ---------------------------------------------------------------------------------------------------- */

static void passes_and_counts(void **state)
{
    (void)state;
    const int fd = connected(proxy.port);
    for (int i = 0; i < 3; i++) {
        say(fd, "PING\r\n");
        hear(fd, "+PONG\r\n");
    }
    say(fd, "PI");
    wait_for(proxy_counts(&proxy).requests == 4);
    say(fd, "NG\r\n");
    hear(fd, "+PONG\r\n");
    const struct proxy_counts counts = proxy_counts(&proxy);
    assert_int_equal(counts.accepted, 1);
    assert_int_equal(counts.open, 1);
    assert_int_equal(counts.round_trips, 4);
    assert_int_equal(counts.requests, 5);
    assert_int_equal(counts.request_bytes, 24);
    assert_int_equal(counts.replies, 4);
    assert_int_equal(counts.reply_bytes, 28);
    assert_int_equal(counts.passed_bytes, 28);
    close(fd);
    wait_for(proxy_counts(&proxy).open == 0);
    assert_int_equal(proxy_counts(&proxy).cut, 0);
}

static void passes_the_end_of_one_direction(void **state)
{
    (void)state;
    const int fd = connected(proxy.port);
    say(fd, "APPEND n x\r\n");
    shutdown(fd, SHUT_WR);
    hear(fd, ":1\r\n");
    hear_end(fd, PROXY_FIN);
    close(fd);
}

static void dropped_reply_was_carried_out(enum proxy_cut how)
{
    const int first = connected(proxy.port), second = connected(proxy.port);
    say(first, "PING\r\n");
    hear(first, "+PONG\r\n");
    proxy_drop_replies(&proxy, 1, how);
    say(first, "APPEND n x\r\n");
    hear_end(first, how);
    assert_int_equal(number(), 1);
    say(second, "APPEND n x\r\n");
    hear(second, ":2\r\n");
    const struct proxy_counts counts = proxy_counts(&proxy);
    assert_int_equal(counts.cut, 1);
    assert_int_equal(counts.open, 1);
    close(first);
    close(second);
}

static void drops_a_reply_with_fin(void **state)
{
    (void)state;
    dropped_reply_was_carried_out(PROXY_FIN);
}

static void drops_a_reply_with_rst(void **state)
{
    (void)state;
    dropped_reply_was_carried_out(PROXY_RST);
}

static void drops_the_replies_to_all_that_was_sent(void **state)
{
    (void)state;
    const int fd = connected(proxy.port);
    char text[12 * 2000 + 1];
    for (char *end = text; end < text + 12 * 2000; end += 12)
        strcpy(end, "APPEND n x\r\n");
    proxy_drop_replies(&proxy, 1, PROXY_FIN);
    say(fd, text);
    hear_end(fd, PROXY_FIN);
    wait_for(number() == 2000);
    close(fd);
}

static void cuts_now(void **state)
{
    (void)state;
    for (enum proxy_cut how = PROXY_FIN; how <= PROXY_RST; how++) {
        const int first = connected(proxy.port), second = connected(proxy.port);
        say(first, "PING\r\n");
        hear(first, "+PONG\r\n");
        say(second, "PING\r\n");
        hear(second, "+PONG\r\n");
        proxy_cut(&proxy, how);
        assert_int_equal(proxy_counts(&proxy).open, 0);
        assert_false(quiet(first));
        hear_end(first, how);
        hear_end(second, how);
        wait_for(clients() == 0);
        close(first);
        close(second);
    }
    assert_int_equal(proxy_counts(&proxy).cut, 4);
}

static void cuts_in_the_middle_of_a_reply(void **state)
{
    (void)state;
    for (enum proxy_cut how = PROXY_FIN; how <= PROXY_RST; how++) {
        const int fd = connected(proxy.port), other = connected(proxy.port);
        proxy_cut_after(&proxy, 10, how);
        say(fd, "PING\r\n");
        hear(fd, "+PONG\r\n");
        say(fd, "PING\r\n");
        hear(fd, "+PO");
        hear_end(fd, how);
        say(other, "PING\r\n");
        hear(other, "+PONG\r\n");
        close(fd);
        close(other);
    }
}

static void is_a_black_hole(void **state)
{
    (void)state;
    const int before = connected(proxy.port);
    say(before, "PING\r\n");
    hear(before, "+PONG\r\n");
    proxy_black_hole(&proxy);
    const int during = connected(proxy.port);
    say(before, "APPEND n x\r\n");
    say(during, "APPEND n x\r\n");
    wait_for(proxy_counts(&proxy).accepted == 2);
    proxy_pass(&proxy);
    const int after = connected(proxy.port);
    say(before, "APPEND n x\r\n");
    say(after, "APPEND n x\r\n");
    hear(after, ":1\r\n");
    assert_true(quiet(before));
    assert_true(quiet(during));
    assert_int_equal(proxy_counts(&proxy).open, 3);
    proxy_cut(&proxy, PROXY_RST);
    hear_end(before, PROXY_RST);
    wait_for(clients() == 0);
    close(before);
    close(during);
    close(after);
}

static void refuses(void **state)
{
    (void)state;
    const int before = connected(proxy.port);
    wait_for(proxy_counts(&proxy).accepted == 1);
    proxy_enter(&proxy, PROXY_REFUSE);
    assert_int_equal(try_connect(proxy.port, 0), -1);
    assert_int_equal(errno, ECONNREFUSED);
    say(before, "PING\r\n");
    hear(before, "+PONG\r\n");
    close(before);
    proxy_pass(&proxy);
    const int after = connected(proxy.port);
    say(after, "PING\r\n");
    hear(after, "+PONG\r\n");
    close(after);
}

static void keeps_silent(void **state)
{
    (void)state;
    proxy_enter(&proxy, PROXY_SILENCE);
    const int fd = try_connect(proxy.port, SOCK_NONBLOCK);
    assert_true(fd >= 0);
    assert_int_equal(poll(&(struct pollfd){.fd = fd, .events = POLLOUT}, 1, 50), 0);
    close(fd);
    proxy_pass(&proxy);
    const int after = connected(proxy.port);
    say(after, "PING\r\n");
    hear(after, "+PONG\r\n");
    close(after);
}

static void trickles(void **state)
{
    (void)state;
    char request[2048], reply[2048], word[1501];
    memset(word, 'w', sizeof word);
    word[sizeof word - 1] = '\0';
    snprintf(request, sizeof request, "ECHO %s\r\n", word);
    snprintf(reply, sizeof reply, "$1500\r\n%s\r\n", word);
    proxy_trickle(&proxy, true);
    const int fd = connected(proxy.port);
    say(fd, request);
    assert_true(hear(fd, reply) > 1);
    close(fd);
}

static void holds_replies(void **state)
{
    (void)state;
    const int fd = connected(proxy.port);
    proxy_hold_replies(&proxy, true);
    say(fd, "APPEND n x\r\n");
    wait_for(proxy_counts(&proxy).replies == 1);
    assert_true(quiet(fd));
    assert_int_equal(number(), 1);
    assert_int_equal(proxy_counts(&proxy).passed_bytes, 0);
    proxy_hold_replies(&proxy, false);
    hear(fd, ":1\r\n");
    close(fd);
}

static void knows_that_a_server_that_hangs_received(void **state)
{
    (void)state;
    const int fd = connected(proxy.port);
    say(fd, "PING\r\n");
    hear(fd, "+PONG\r\n");
    server_tell(&server, "pause");
    proxy_trickle(&proxy, true);
    say(fd, "APPEND n x\r\n");
    proxy_wait_received(&proxy);
    proxy_cut(&proxy, PROXY_RST);
    server_tell(&server, "resume");
    wait_for(number() == 1);
    close(fd);
}

static void goes_on_when_the_server_restarts(void **state)
{
    (void)state;
    const int before = connected(proxy.port);
    say(before, "PING\r\n");
    hear(before, "+PONG\r\n");
    server_tell(&server, "kill");
    char byte;
    assert_true(recv(before, &byte, 1, 0) <= 0);
    close(before);
    const int during = connected(proxy.port);
    hear_end(during, PROXY_RST);
    close(during);
    server_tell(&server, "start");
    const int after = connected(proxy.port);
    say(after, "PING\r\n");
    hear(after, "+PONG\r\n");
    close(after);
}

int main(void)
{
    server_start_or_skip(&server, "redis");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(passes_and_counts, set_up, tear_down),
        cmocka_unit_test_setup_teardown(passes_the_end_of_one_direction, set_up, tear_down),
        cmocka_unit_test_setup_teardown(drops_a_reply_with_fin, set_up, tear_down),
        cmocka_unit_test_setup_teardown(drops_a_reply_with_rst, set_up, tear_down),
        cmocka_unit_test_setup_teardown(drops_the_replies_to_all_that_was_sent, set_up, tear_down),
        cmocka_unit_test_setup_teardown(cuts_now, set_up, tear_down),
        cmocka_unit_test_setup_teardown(cuts_in_the_middle_of_a_reply, set_up, tear_down),
        cmocka_unit_test_setup_teardown(is_a_black_hole, set_up, tear_down),
        cmocka_unit_test_setup_teardown(refuses, set_up, tear_down),
        cmocka_unit_test_setup_teardown(keeps_silent, set_up, tear_down),
        cmocka_unit_test_setup_teardown(trickles, set_up, tear_down),
        cmocka_unit_test_setup_teardown(holds_replies, set_up, tear_down),
        cmocka_unit_test_setup_teardown(knows_that_a_server_that_hangs_received, set_up, tear_down),
        cmocka_unit_test_setup_teardown(goes_on_when_the_server_restarts, set_up, tear_down),
    };
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    server_stop(&server);
    return failed;
}
