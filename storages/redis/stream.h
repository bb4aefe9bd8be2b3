/* stream.h - bytes to and from one server: a non-blocking socket, with or without TLS. Used by node.c. */
#ifndef DLOCK_REDIS_STREAM_H
#define DLOCK_REDIS_STREAM_H

#include "look.h"
#include "settings.h"

#include <sys/types.h>

struct addrinfo;
struct tls;

/* TLS is a part of its own, so that a module without it needs no OpenSSL. Calls return bytes, 0 at the end of the
 * stream, or -1 with errno EAGAIN (wait for the socket), EACCES (a certificate is not accepted, here or there: see
 * `why`) or another (see `why`). */
struct tls_functions {
    struct tls *(*open)(const struct address *address, dlock_error *error);
    void (*close)(struct tls *tls);
    /* 1 when it is done. */
    int (*handshake)(struct tls *tls, int socket, char *why, size_t size);
    ssize_t (*receive)(struct tls *tls, int socket, void *bytes, size_t size, char *why, size_t why_size);
    ssize_t (*send)(struct tls *tls, int socket, const void *bytes, size_t size, char *why, size_t why_size);
    /* Does something that was sent still wait to be written to the socket? */
    bool (*pending)(const struct tls *tls);
};

/* What serves rediss: in this module; NULL = nothing. */
extern const struct tls_functions *const stream_tls;

struct stream {
    int socket; /* -1 = closed */
    struct tls *tls;
    struct addrinfo *found, *next; /* addresses of the host name, and the one to try next */
    int64_t try_until;             /* when the next one is tried, if this one does not answer */
    bool connected;                /* the socket is; then comes the handshake of TLS */
    bool open;                     /* all of it is */
    int64_t patience;              /* of stream_await, as the socket was told it; 0 = it does not block yet */
    struct look look;              /* for the answer, before stream_await sleeps */
    bool refused;                  /* a certificate was not accepted: trying again is of no use */
    char why[160];                 /* what is wrong, if something is */
};

void stream_init(struct stream *stream);

/* Starts to connect; to be gone on with by stream_step. Errors: UNAVAILABLE (`why`), REFUSED (files of TLS), NOMEM. */
dlock_status stream_open(struct stream *stream, const struct address *address, int64_t now, int64_t until,
                         dlock_error *error);
void stream_close(struct stream *stream);

/* Goes on with connecting. False = it failed: see `why`. */
bool stream_step(struct stream *stream, int64_t now, int64_t until);

/* What has to be waited for: POLLIN, POLLOUT, both. */
short stream_events(const struct stream *stream);

/* As recv and send: bytes, 0 at the end of the stream, -1 with errno EAGAIN, else broken: see `why`. */
ssize_t stream_receive(struct stream *stream, void *bytes, size_t size);
ssize_t stream_send(struct stream *stream, const void *bytes, size_t size);

/* As stream_receive, but waits up to about `patience` us (more than 0) for the first byte, without a poll before it: a
 * system call less in every round trip. Not with TLS. */
ssize_t stream_await(struct stream *stream, void *bytes, size_t size, int64_t patience);

/* Writes what TLS still holds back. False = broken. */
bool stream_flush(struct stream *stream);

#endif
