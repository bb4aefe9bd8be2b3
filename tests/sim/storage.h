/* storage.h - the simulated storage, which keeps the contract of dlock_storage.h, and the network that leads to it.
 *
 * client.c sends messages here; world.c stops, restarts and reboots it. */
#ifndef DLOCK_SIM_STORAGE_H
#define DLOCK_SIM_STORAGE_H

#include "dlock_storage.h"

#define KEYS_MAX  3
#define BATCH_MAX 16

struct world;
struct client;
struct courier;
struct job;

struct record {
    uint64_t owner, fence; /* owner 0 = none */
    int64_t expires_at;    /* by the storage's clock */
    bool stray;            /* taken by a request that its sender had given up */
};

struct storage {
    struct record records[KEYS_MAX];
    uint64_t epoch, counter; /* of the fences */
    bool down;
    int64_t clock, clock_read_at; /* the clock's time when its rate was last set */
    int64_t rate_ppm;             /* 1 000 000 = as true time */
};

/* A request on its way, and its answer. */
struct item {
    struct job *job; /* of the sender */
    dlock_operation operation;
    size_t key;
    uint64_t owner;
    uint32_t ttl_ms;
    dlock_status status;
    bool not_done, contended;
    uint64_t fence;
    int64_t remaining_ms;
};

/* Requests that travel together, over a connection of their own as far as order is concerned. */
struct message {
    struct message *next; /* in the world's list */
    struct client *client;
    struct courier *courier; /* NULL = sent by a caller's thread */
    bool open;               /* the sender still waits for the answer */
    size_t count;
    struct item items[];
};

int64_t storage_clock(const struct world *world);
void storage_set_rate(struct world *world, int64_t rate_ppm);
bool storage_live(const struct world *world, size_t key);
void storage_stop(struct world *world);
void storage_start(struct world *world);
void storage_break(struct world *world, size_t key);

/* All leases are void, and fences go on in a new epoch. */
void storage_reboot(struct world *world);

/* Sends `count` filled items; client_answered is called for the message when it is answered or given up. */
void network_send(struct world *world, struct client *client, struct courier *courier, const struct item *items,
                  size_t count);

/* The client has died: nobody waits for its answers. */
void network_forget(struct world *world, const struct client *client);

#endif
