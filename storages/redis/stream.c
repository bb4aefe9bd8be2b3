/* stream.c - see stream.h. */
#include "stream.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define KEEPALIVE_S       30
#define PATIENCE_SLACK_US 10000
#define LOOK_US           60
#define UNREAD_MAX        1048576 /* bytes that are read before a connection is closed */

void stream_init(struct stream *stream)
{
    *stream = (struct stream){.socket = -1, .look = {.most_us = LOOK_US}};
}

static void explain(struct stream *stream, int error)
{
    char text[128];
    snprintf(stream->why, sizeof stream->why, "%s", strerror_r(error, text, sizeof text));
}

/* Small pieces go out at once; and one who only listens learns that the other side is gone. */
static void set_options(int descriptor)
{
    setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    setsockopt(descriptor, SOL_SOCKET, SO_KEEPALIVE, &(int){1}, sizeof(int));
    setsockopt(descriptor, IPPROTO_TCP, TCP_KEEPIDLE, &(int){KEEPALIVE_S}, sizeof(int));
    setsockopt(descriptor, IPPROTO_TCP, TCP_KEEPINTVL, &(int){KEEPALIVE_S / 3}, sizeof(int));
    setsockopt(descriptor, IPPROTO_TCP, TCP_KEEPCNT, &(int){3}, sizeof(int));
}

/* Begins a connection; EINPROGRESS is success. */
static bool begin(struct stream *stream, const struct sockaddr *to, socklen_t size)
{
    stream->socket = socket(to->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (stream->socket < 0) {
        explain(stream, errno);
        return false;
    }
    if (to->sa_family != AF_UNIX)
        set_options(stream->socket);
    if (connect(stream->socket, to, size) == 0) {
        stream->connected = true;
        return true;
    }
    if (errno == EINPROGRESS)
        return true;
    explain(stream, errno);
    close(stream->socket);
    stream->socket = -1;
    return false;
}

/* Begins with the next address that there is; each has an equal part of the time that is left. */
static bool begin_next(struct stream *stream, int64_t now, int64_t until)
{
    while (stream->next) {
        const struct addrinfo *address = stream->next;
        int left = 0;
        for (const struct addrinfo *each = address; each; each = each->ai_next)
            left++;
        stream->next = address->ai_next;
        stream->try_until = now + (until - now) / left;
        if (begin(stream, address->ai_addr, address->ai_addrlen))
            return true;
    }
    return false;
}

static bool begin_unix(struct stream *stream, const char *path)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof to.sun_path) {
        snprintf(stream->why, sizeof stream->why, "the path of a socket has at most %zu bytes", sizeof to.sun_path - 1);
        return false;
    }
    strcpy(to.sun_path, path);
    return begin(stream, (const struct sockaddr *)&to, sizeof to);
}

static bool begin_host(struct stream *stream, const struct address *address, int64_t now, int64_t until)
{
    char port[8];
    snprintf(port, sizeof port, "%u", address->port);
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV};
    int code = getaddrinfo(address->host, port, &hints, &stream->found);
    if (code != 0) {
        hints.ai_flags = AI_NUMERICSERV | AI_ADDRCONFIG;
        code = getaddrinfo(address->host, port, &hints, &stream->found);
    }
    if (code != 0) {
        stream->found = NULL;
        snprintf(stream->why, sizeof stream->why, "its name cannot be resolved: %s", gai_strerror(code));
        return false;
    }
    stream->next = stream->found;
    return begin_next(stream, now, until);
}

dlock_status stream_open(struct stream *stream, const struct address *address, int64_t now, int64_t until,
                         dlock_error *error)
{
    stream_init(stream);
    if (address->tls) {
        if (!stream_tls)
            return dlock_error_set(error, DLOCK_UNSUPPORTED, "%s: this module has no TLS", address->name);
        dlock_error why;
        stream->tls = stream_tls->open(address, &why);
        if (!stream->tls)
            return dlock_error_set(error, why.status, "%s: %s", address->name, why.message);
    }
    stream->try_until = until;
    if (address->path ? begin_unix(stream, address->path) : begin_host(stream, address, now, until))
        return DLOCK_OK;
    dlock_error_set(error, DLOCK_UNAVAILABLE, "%s: %s", address->name, stream->why);
    stream_close(stream);
    return DLOCK_UNAVAILABLE;
}

/* To close a socket with something unread is a reset, and then a server may never read what it was sent last: that a
 * key is to be given back. */
static void close_orderly(int descriptor)
{
    char unread[16384];
    ssize_t got, all = 0;
    while (all < UNREAD_MAX && (got = recv(descriptor, unread, sizeof unread, MSG_DONTWAIT)) > 0)
        all += got;
    close(descriptor);
}

void stream_close(struct stream *stream)
{
    if (stream->socket >= 0)
        close_orderly(stream->socket);
    if (stream->tls)
        stream_tls->close(stream->tls);
    if (stream->found)
        freeaddrinfo(stream->found);
    stream->socket = -1;
    stream->tls = NULL;
    stream->found = stream->next = NULL;
    stream->connected = stream->open = false;
}

/* Is the connection made? 1 yes, 0 not yet, -1 it failed. */
static int ask_socket(struct stream *stream)
{
    struct pollfd polled = {.fd = stream->socket, .events = POLLOUT};
    if (poll(&polled, 1, 0) <= 0)
        return 0;
    int error = 0;
    getsockopt(stream->socket, SOL_SOCKET, SO_ERROR, &error, &(socklen_t){sizeof error});
    if (error)
        explain(stream, error);
    return error ? -1 : 1;
}

static bool step_connection(struct stream *stream, int64_t now, int64_t until)
{
    int made = ask_socket(stream);
    if (made == 0 && now >= stream->try_until) {
        explain(stream, ETIMEDOUT);
        made = -1;
    }
    stream->connected = made > 0;
    if (made >= 0)
        return true;
    close(stream->socket);
    stream->socket = -1;
    return begin_next(stream, now, until);
}

/* Of a call of TLS: notes whether it failed for good. */
static ssize_t noted(struct stream *stream, ssize_t result)
{
    stream->refused |= result < 0 && errno == EACCES;
    return result;
}

bool stream_step(struct stream *stream, int64_t now, int64_t until)
{
    if (!stream->connected && !step_connection(stream, now, until))
        return false;
    if (!stream->connected)
        return true;
    if (stream->tls && !stream->open) {
        const ssize_t done =
            noted(stream, stream_tls->handshake(stream->tls, stream->socket, stream->why, sizeof stream->why));
        if (done != 1)
            return errno == EAGAIN;
    }
    stream->open = true;
    return true;
}

short stream_events(const struct stream *stream)
{
    if (!stream->connected)
        return POLLOUT;
    return stream->tls && stream_tls->pending(stream->tls) ? POLLIN | POLLOUT : POLLIN;
}

/* Of a plain socket's call that failed; EAGAIN is left to the caller. */
static ssize_t failed(struct stream *stream)
{
    if (errno == EWOULDBLOCK || errno == EINTR)
        errno = EAGAIN;
    if (errno != EAGAIN)
        explain(stream, errno);
    return -1;
}

ssize_t stream_receive(struct stream *stream, void *bytes, size_t size)
{
    if (stream->tls)
        return noted(stream,
                     stream_tls->receive(stream->tls, stream->socket, bytes, size, stream->why, sizeof stream->why));
    const ssize_t count = recv(stream->socket, bytes, size, MSG_DONTWAIT);
    return count < 0 ? failed(stream) : count;
}

/* From now on a plain recv waits that long. It is told again only if it is another time: mostly it is the timeout of
 * an operation less some microseconds. */
static void set_patience(struct stream *stream, int64_t patience)
{
    if (!stream->patience)
        fcntl(stream->socket, F_SETFL, 0);
    if (stream->patience && llabs(stream->patience - patience) <= PATIENCE_SLACK_US)
        return;
    const struct timeval time = {.tv_sec = patience / 1000000, .tv_usec = patience % 1000000};
    setsockopt(stream->socket, SOL_SOCKET, SO_RCVTIMEO, &time, sizeof time);
    stream->patience = patience;
}

struct receiving {
    struct stream *stream;
    void *bytes;
    size_t size;
    ssize_t count;
};

static bool receive_at_once(void *arg)
{
    struct receiving *receiving = arg;
    receiving->count = recv(receiving->stream->socket, receiving->bytes, receiving->size, MSG_DONTWAIT);
    return receiving->count >= 0 || errno != EAGAIN;
}

ssize_t stream_await(struct stream *stream, void *bytes, size_t size, int64_t patience)
{
    struct receiving receiving = {stream, bytes, size, -1};
    if (!look_begin(&stream->look, receive_at_once, &receiving)) {
        set_patience(stream, patience);
        receiving.count = recv(stream->socket, bytes, size, 0);
    }
    look_end();
    return receiving.count < 0 ? failed(stream) : receiving.count;
}

ssize_t stream_send(struct stream *stream, const void *bytes, size_t size)
{
    if (stream->tls)
        return noted(stream,
                     stream_tls->send(stream->tls, stream->socket, bytes, size, stream->why, sizeof stream->why));
    const ssize_t count = send(stream->socket, bytes, size, MSG_NOSIGNAL | MSG_DONTWAIT);
    return count < 0 ? failed(stream) : count;
}

bool stream_flush(struct stream *stream)
{
    if (!stream->tls || !stream_tls->pending(stream->tls))
        return true;
    return stream_tls->send(stream->tls, stream->socket, "", 0, stream->why, sizeof stream->why) >= 0 ||
           errno == EAGAIN;
}
