/* proxy.h - a TCP proxy between a storage and its server, a thread of the test, which makes the network fail.
 *
 * It knows no protocol. A fault is in force when the call that asks for it returns, for the connections that there are
 * and for new ones, until proxy_pass. Any thread may call. */
#ifndef DLOCK_TESTS_PROXY_H
#define DLOCK_TESTS_PROXY_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct proxy_connection;

/* How a connection is cut: as by a program that closes it, or as by one that is gone. */
enum proxy_cut { PROXY_FIN, PROXY_RST };

/* What a new connection meets. PROXY_SILENCE: connecting goes on and on, as to a machine that is off. */
enum proxy_entry { PROXY_ACCEPT, PROXY_REFUSE, PROXY_SILENCE };

struct proxy_counts {
    int accepted;         /* connections that were accepted */
    int open;             /* those that the proxy did not end, and the client and the server neither */
    int cut;              /* those that a fault ended */
    int round_trips;      /* how often a client spoke after a reply, or for the first time */
    int requests;         /* pieces that came from clients, at most one per round trip if each is one write */
    int replies;          /* pieces that came from the server */
    size_t request_bytes; /* handed on to the server; see proxy_wait_received */
    size_t reply_bytes;   /* came from the server, also if a fault kept them */
    size_t passed_bytes;  /* of those, the ones that were handed on */
};

struct proxy {
    int port; /* at 127.0.0.1; it stays the same also while connections are refused */

    char server[16], service[8]; /* where the server is */
    pthread_t thread;
    int wake;                             /* eventfd */
    int reserved, listener, fillers[4];   /* sockets; -1: not open. Of the thread */
    struct proxy_connection *connections; /* of the thread */

    pthread_mutex_t mutex; /* guards the rest */
    pthread_cond_t obeyed;
    unsigned ordered, done; /* the last order that was given, and carried out */
    bool stop;
    enum proxy_entry entry;
    bool black_hole, hold, trickle;
    bool cut_now, cut_after;
    size_t bytes_left; /* of replies until cut_after is due */
    int drop;          /* so many of the next replies */
    enum proxy_cut how;
    struct proxy_counts counts;
};

/* `host` is the address of the server, as a number. */
void proxy_start(struct proxy *proxy, const char *host, int port);
void proxy_stop(struct proxy *proxy);

/* Ends every fault. Connections that lost bytes stay what they are: black holes, or cut. */
void proxy_pass(struct proxy *proxy);

void proxy_enter(struct proxy *proxy, enum proxy_entry entry);

/* Cuts every connection that there is. */
void proxy_cut(struct proxy *proxy, enum proxy_cut how);

/* Lets `bytes` more bytes of replies through, and cuts the connection that got the last of them. Once. */
void proxy_cut_after(struct proxy *proxy, size_t bytes, enum proxy_cut how);

/* Swallows the next `count` replies that come from the server, and cuts their connections. What was sent to the server
 * before is still carried out. */
void proxy_drop_replies(struct proxy *proxy, int count, enum proxy_cut how);

/* Connections are accepted and stay open, but nothing goes through them, nor ever will. */
void proxy_black_hole(struct proxy *proxy);

/* Keeps replies back, and hands them on when told so. */
void proxy_hold_replies(struct proxy *proxy, bool hold);

/* One byte at a time, both ways. */
void proxy_trickle(struct proxy *proxy, bool trickle);

struct proxy_counts proxy_counts(struct proxy *proxy);

/* Waits until the machine of the server has confirmed all that the clients sent so far: then the server will read it.
 */
void proxy_wait_received(struct proxy *proxy);

#endif
