/* proxy.c - see proxy.h. One thread per proxy moves the bytes of all its connections. It holds the mutex except while
 * it waits in poll; it alone opens and closes sockets. */
#include "proxy.h"

#include "support.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/sockios.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define FLOW_SIZE       ((size_t)1 << 17)
#define CONNECTIONS_MAX 512
#define TRICKLE_NS      20000 /* between two bytes, so that the receiver sees them apart */

/* The bytes of one direction that were read and not handed on yet. */
struct flow {
    char data[FLOW_SIZE];
    size_t length;
    bool ended; /* nothing more will be read */
    bool shut;  /* and that was handed on as well */
};

struct proxy_connection {
    struct proxy_connection *next;
    int client, server; /* -1: closed */
    bool black_hole, cut;
    bool client_spoke; /* last, so that what the server says next is the reply */
    struct flow requests, replies;
};

/* ---- sockets -------------------------------------------------------------------------------------------------- */

static int open_socket(int family)
{
    const int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    return fd;
}

static void close_socket(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

/* Closes so that the other side sees a reset. */
static void reset_socket(int *fd)
{
    if (*fd >= 0)
        setsockopt(*fd, SOL_SOCKET, SO_LINGER, &(struct linger){.l_onoff = 1}, sizeof(struct linger));
    close_socket(fd);
}

static struct sockaddr_in own_address(const struct proxy *proxy)
{
    return (struct sockaddr_in){
        .sin_family = AF_INET, .sin_port = htons((uint16_t)proxy->port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static void close_listener(struct proxy *proxy)
{
    close_socket(&proxy->listener);
    for (size_t i = 0; i < sizeof proxy->fillers / sizeof *proxy->fillers; i++)
        close_socket(&proxy->fillers[i]);
}

static void open_listener(struct proxy *proxy, int backlog)
{
    const struct sockaddr_in address = own_address(proxy);
    proxy->listener = open_socket(AF_INET);
    int failed = bind(proxy->listener, (const struct sockaddr *)&address, sizeof address);
    failed += listen(proxy->listener, backlog);
    assert_int_equal(failed, 0);
}

/* The queue of a listener that accepts nothing takes one connection; the kernel then drops whatever comes. */
static void fill_queue(struct proxy *proxy)
{
    const struct sockaddr_in address = own_address(proxy);
    open_listener(proxy, 0);
    for (size_t i = 0; i < sizeof proxy->fillers / sizeof *proxy->fillers; i++) {
        proxy->fillers[i] = open_socket(AF_INET);
        (void)connect(proxy->fillers[i], (const struct sockaddr *)&address, sizeof address);
    }
}

static int connect_to_server(const struct proxy *proxy)
{
    struct addrinfo *address;
    const int problem = getaddrinfo(
        proxy->server, proxy->service,
        &(struct addrinfo){.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV, .ai_socktype = SOCK_STREAM}, &address);
    assert_int_equal(problem, 0);
    const int fd = open_socket(address->ai_family);
    (void)connect(fd, address->ai_addr, address->ai_addrlen); /* what comes of it shows when it is used */
    freeaddrinfo(address);
    return fd;
}

/* ---- connections ---------------------------------------------------------------------------------------------- */

/* One side is gone in an unusual way, or the proxy ends: so is the other. */
static void abort_connection(struct proxy *proxy, struct proxy_connection *connection)
{
    if (!connection->cut)
        proxy->counts.open--;
    connection->cut = true;
    reset_socket(&connection->client);
    reset_socket(&connection->server);
}

/* The client sees an end; the server an orderly one, and only behind what it was sent. */
static void cut_connection(struct proxy *proxy, struct proxy_connection *connection, enum proxy_cut how)
{
    if (connection->cut)
        return;
    connection->cut = true;
    proxy->counts.cut++;
    proxy->counts.open--;
    connection->requests.ended = true;
    if (connection->black_hole)
        reset_socket(&connection->server);
    if (how == PROXY_RST)
        reset_socket(&connection->client);
    else if (connection->client >= 0)
        shutdown(connection->client, SHUT_WR); /* closing it with something unread would be a reset */
}

static bool gone(ssize_t count)
{
    return count < 0 && errno != EAGAIN && errno != EINTR;
}

/* Reads what there is room for. Returns the number of bytes, 0 if there were none, -1 if the connection broke. */
static ssize_t fill(struct flow *flow, int fd)
{
    if (fd < 0 || flow->ended || flow->length == FLOW_SIZE)
        return 0;
    const ssize_t count = recv(fd, flow->data + flow->length, FLOW_SIZE - flow->length, 0);
    flow->ended = count == 0;
    if (count > 0)
        flow->length += (size_t)count;
    return gone(count) ? -1 : count > 0 ? count : 0;
}

/* Hands on up to `most` bytes, and behind the last one the end. Returns as fill does. */
static ssize_t drain(struct flow *flow, int fd, size_t most)
{
    if (fd < 0)
        return 0;
    ssize_t count = 0;
    if (flow->length > 0 && most > 0) {
        count = send(fd, flow->data, flow->length < most ? flow->length : most, MSG_NOSIGNAL);
        if (gone(count))
            return -1;
        if (count > 0) {
            flow->length -= (size_t)count;
            memmove(flow->data, flow->data + count, flow->length);
        }
    }
    if (flow->ended && flow->length == 0 && !flow->shut) {
        flow->shut = true;
        /* Before it is connected, a socket cannot be shut down; then there is nothing to hand on either. */
        if (shutdown(fd, SHUT_WR) != 0)
            return -1;
    }
    return count > 0 ? count : 0;
}

static bool read_requests(struct proxy *proxy, struct proxy_connection *connection)
{
    const ssize_t count = fill(&connection->requests, connection->client);
    if (count > 0) {
        proxy->counts.requests++;
        proxy->counts.round_trips += !connection->client_spoke;
        connection->client_spoke = true;
    }
    return count >= 0;
}

static bool read_replies(struct proxy *proxy, struct proxy_connection *connection)
{
    const ssize_t count = fill(&connection->replies, connection->server);
    if (count > 0) {
        connection->client_spoke = false;
        proxy->counts.replies++;
        proxy->counts.reply_bytes += (size_t)count;
        if (proxy->drop > 0) {
            proxy->drop--;
            cut_connection(proxy, connection, proxy->how);
        }
    }
    return count >= 0;
}

static bool pass_replies(struct proxy *proxy, struct proxy_connection *connection)
{
    size_t most = proxy->hold ? 0 : proxy->trickle ? 1 : FLOW_SIZE;
    if (proxy->cut_after && proxy->bytes_left < most)
        most = proxy->bytes_left;
    const bool pending = connection->replies.length > 0;
    const ssize_t count = drain(&connection->replies, connection->client, most);
    if (count < 0)
        return false;
    proxy->counts.passed_bytes += (size_t)count;
    if (proxy->cut_after && pending) {
        proxy->bytes_left -= (size_t)count;
        if (proxy->bytes_left == 0) {
            proxy->cut_after = false;
            cut_connection(proxy, connection, proxy->how);
        }
    }
    return true;
}

/* A connection that a fault took from the client: only looks for its end on both sides. */
static bool serve_lost(struct proxy_connection *connection)
{
    char nothing[4096];
    ssize_t count;
    const int sides[2] = {connection->client, connection->server};
    for (size_t i = 0; i < 2; i++) {
        if (sides[i] < 0)
            continue;
        while ((count = recv(sides[i], nothing, sizeof nothing, 0)) > 0)
            ;
        if (count < 0 && !gone(count))
            continue;
        close_socket(i == 0 ? &connection->client : &connection->server);
    }
    return connection->client >= 0 || (connection->server >= 0 && connection->cut);
}

/* Moves what can be moved now; false if the connection is to be freed. */
static bool serve(struct proxy *proxy, struct proxy_connection *connection)
{
    if (!connection->cut && !connection->black_hole) {
        const bool fine = read_requests(proxy, connection) && read_replies(proxy, connection) &&
                          (connection->cut || pass_replies(proxy, connection));
        if (!fine)
            abort_connection(proxy, connection);
    }
    if (!connection->black_hole) {
        const ssize_t count = drain(&connection->requests, connection->server, proxy->trickle ? 1 : FLOW_SIZE);
        if (count < 0)
            abort_connection(proxy, connection);
        else
            proxy->counts.request_bytes += (size_t)count;
    }
    if (connection->cut || connection->black_hole) {
        if (serve_lost(connection))
            return true;
        if (!connection->cut)
            proxy->counts.open--;
    } else if (!connection->requests.shut || !connection->replies.shut) {
        return true;
    } else {
        proxy->counts.open--;
    }
    close_socket(&connection->client);
    close_socket(&connection->server);
    return false;
}

static void accept_connections(struct proxy *proxy)
{
    int fd;
    while (proxy->entry == PROXY_ACCEPT &&
           (fd = accept4(proxy->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
        struct proxy_connection *connection = calloc(1, sizeof *connection);
        assert_non_null(connection);
        connection->client = fd;
        connection->black_hole = proxy->black_hole;
        connection->server = proxy->black_hole ? -1 : connect_to_server(proxy);
        connection->next = proxy->connections;
        proxy->connections = connection;
        proxy->counts.accepted++;
        proxy->counts.open++;
    }
}

static void serve_all(struct proxy *proxy)
{
    accept_connections(proxy);
    struct proxy_connection **place = &proxy->connections;
    while (*place) {
        struct proxy_connection *connection = *place;
        if (serve(proxy, connection)) {
            place = &connection->next;
        } else {
            *place = connection->next;
            free(connection);
        }
    }
}

/* ---- the thread ----------------------------------------------------------------------------------------------- */

/* Carries out what was ordered since the last time. */
static void obey(struct proxy *proxy, enum proxy_entry *entry)
{
    if (*entry != proxy->entry) {
        close_listener(proxy);
        if (proxy->entry == PROXY_ACCEPT)
            open_listener(proxy, SOMAXCONN);
        else if (proxy->entry == PROXY_SILENCE)
            fill_queue(proxy);
        *entry = proxy->entry;
    }
    for (struct proxy_connection *connection = proxy->connections; connection; connection = connection->next) {
        if (proxy->black_hole)
            connection->black_hole = true;
        if (proxy->cut_now) {
            connection->requests.length = 0;
            cut_connection(proxy, connection, proxy->how);
        }
    }
    proxy->cut_now = false;
    proxy->done = proxy->ordered;
    pthread_cond_broadcast(&proxy->obeyed);
}

static struct pollfd interest(int fd, const struct flow *in, const struct flow *out, bool lost, bool blocked)
{
    const bool reads = lost || (!in->ended && in->length < FLOW_SIZE);
    const bool writes = out->length > 0 && !blocked;
    return (struct pollfd){.fd = reads || writes ? fd : -1,
                           .events = (short)((reads ? POLLIN : 0) | (writes ? POLLOUT : 0))};
}

/* What the thread waits for. Returns the number of descriptors; `pause` if bytes trickle. */
static nfds_t collect(const struct proxy *proxy, struct pollfd *fds, bool *pause)
{
    nfds_t count = 0;
    fds[count++] = (struct pollfd){.fd = proxy->wake, .events = POLLIN};
    fds[count++] = (struct pollfd){.fd = proxy->entry == PROXY_ACCEPT ? proxy->listener : -1, .events = POLLIN};
    *pause = false;
    for (const struct proxy_connection *each = proxy->connections; each; each = each->next) {
        const bool lost = each->black_hole || each->cut;
        assert_true(count < 2 * (CONNECTIONS_MAX + 1));
        fds[count++] = interest(each->client, &each->requests, &each->replies, lost, lost || proxy->hold);
        fds[count++] = interest(each->server, &each->replies, &each->requests, lost, each->black_hole);
        *pause |= proxy->trickle && ((!lost && !proxy->hold && each->replies.length > 0) || each->requests.length > 0);
    }
    return count;
}

static void *run(void *arg)
{
    struct proxy *proxy = arg;
    struct pollfd fds[2 * (CONNECTIONS_MAX + 2)];
    enum proxy_entry entry = PROXY_ACCEPT;
    bool pause;
    pthread_mutex_lock(&proxy->mutex);
    while (!proxy->stop) {
        obey(proxy, &entry);
        serve_all(proxy);
        const nfds_t count = collect(proxy, fds, &pause);
        pthread_mutex_unlock(&proxy->mutex);
        if (pause)
            nanosleep(&(struct timespec){.tv_nsec = TRICKLE_NS}, NULL);
        poll(fds, count, pause ? 0 : -1);
        if (fds[0].revents)
            eventfd_read(proxy->wake, &(eventfd_t){0});
        pthread_mutex_lock(&proxy->mutex);
    }
    pthread_mutex_unlock(&proxy->mutex);
    return NULL;
}

/* ---- the test's side ------------------------------------------------------------------------------------------ */

void proxy_start(struct proxy *proxy, const char *host, int port)
{
    memset(proxy, 0, sizeof *proxy);
    assert_true(strlen(host) < sizeof proxy->server);
    snprintf(proxy->server, sizeof proxy->server, "%s", host);
    snprintf(proxy->service, sizeof proxy->service, "%d", port);
    proxy->listener = -1;
    for (size_t i = 0; i < sizeof proxy->fillers / sizeof *proxy->fillers; i++)
        proxy->fillers[i] = -1;

    /* Bound as long as the proxy lives, so that nobody else gets the port while connections are refused. */
    struct sockaddr_in address = own_address(proxy);
    proxy->reserved = open_socket(AF_INET);
    assert_int_equal(bind(proxy->reserved, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(getsockname(proxy->reserved, (struct sockaddr *)&address, &(socklen_t){sizeof address}), 0);
    proxy->port = ntohs(address.sin_port);
    open_listener(proxy, SOMAXCONN);

    proxy->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    assert_true(proxy->wake >= 0);
    pthread_mutex_init(&proxy->mutex, NULL);
    pthread_cond_init(&proxy->obeyed, NULL);
    assert_int_equal(pthread_create(&proxy->thread, NULL, run, proxy), 0);
}

void proxy_stop(struct proxy *proxy)
{
    pthread_mutex_lock(&proxy->mutex);
    proxy->stop = true;
    pthread_mutex_unlock(&proxy->mutex);
    eventfd_write(proxy->wake, 1);
    pthread_join(proxy->thread, NULL);
    while (proxy->connections) {
        struct proxy_connection *connection = proxy->connections;
        proxy->connections = connection->next;
        abort_connection(proxy, connection);
        free(connection);
    }
    close_listener(proxy);
    close_socket(&proxy->reserved);
    close_socket(&proxy->wake);
    pthread_cond_destroy(&proxy->obeyed);
    pthread_mutex_destroy(&proxy->mutex);
}

/* What is set between the two is in force when the second returns. */
static void order(struct proxy *proxy)
{
    pthread_mutex_lock(&proxy->mutex);
}

static void await_obedience(struct proxy *proxy)
{
    const unsigned mine = ++proxy->ordered;
    eventfd_write(proxy->wake, 1);
    while ((int)(proxy->done - mine) < 0)
        pthread_cond_wait(&proxy->obeyed, &proxy->mutex);
    pthread_mutex_unlock(&proxy->mutex);
}

void proxy_pass(struct proxy *proxy)
{
    order(proxy);
    proxy->entry = PROXY_ACCEPT;
    proxy->black_hole = proxy->hold = proxy->trickle = proxy->cut_after = false;
    proxy->drop = 0;
    await_obedience(proxy);
}

void proxy_enter(struct proxy *proxy, enum proxy_entry entry)
{
    order(proxy);
    proxy->entry = entry;
    await_obedience(proxy);
}

void proxy_cut(struct proxy *proxy, enum proxy_cut how)
{
    order(proxy);
    proxy->cut_now = true;
    proxy->how = how;
    await_obedience(proxy);
}

void proxy_cut_after(struct proxy *proxy, size_t bytes, enum proxy_cut how)
{
    order(proxy);
    proxy->cut_after = true;
    proxy->bytes_left = bytes;
    proxy->how = how;
    await_obedience(proxy);
}

void proxy_drop_replies(struct proxy *proxy, int count, enum proxy_cut how)
{
    order(proxy);
    proxy->drop = count;
    proxy->how = how;
    await_obedience(proxy);
}

void proxy_black_hole(struct proxy *proxy)
{
    order(proxy);
    proxy->black_hole = true;
    await_obedience(proxy);
}

void proxy_hold_replies(struct proxy *proxy, bool hold)
{
    order(proxy);
    proxy->hold = hold;
    await_obedience(proxy);
}

void proxy_trickle(struct proxy *proxy, bool trickle)
{
    order(proxy);
    proxy->trickle = trickle;
    await_obedience(proxy);
}

struct proxy_counts proxy_counts(struct proxy *proxy)
{
    pthread_mutex_lock(&proxy->mutex);
    const struct proxy_counts counts = proxy->counts;
    pthread_mutex_unlock(&proxy->mutex);
    return counts;
}

/* Nothing is on its way to the server: in the socket of a client, in the proxy, in the socket of the server. */
static bool all_received(struct proxy *proxy)
{
    pthread_mutex_lock(&proxy->mutex);
    bool all =
        proxy->entry != PROXY_ACCEPT || poll(&(struct pollfd){.fd = proxy->listener, .events = POLLIN}, 1, 0) == 0;
    for (const struct proxy_connection *each = proxy->connections; each && all; each = each->next) {
        int unread = 0, unconfirmed = 0;
        if (each->black_hole || each->server < 0)
            continue;
        if (each->client >= 0 && !each->cut)
            ioctl(each->client, FIONREAD, &unread);
        ioctl(each->server, SIOCOUTQ, &unconfirmed);
        all = unread == 0 && each->requests.length == 0 && unconfirmed == 0;
    }
    pthread_mutex_unlock(&proxy->mutex);
    return all;
}

void proxy_wait_received(struct proxy *proxy)
{
    wait_for(all_received(proxy));
}
