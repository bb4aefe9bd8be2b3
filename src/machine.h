/* machine.h - the state machine of one lock: pure steps over events, time and chance.
 *
 * It does no I/O and reads no clock. Its driver (lock.c with threads, tests/sim with a simulated world) tells it what
 * happened and carries out what it answers. Times are microseconds of CLOCK_BOOTTIME. */
#ifndef DLOCK_SRC_MACHINE_H
#define DLOCK_SRC_MACHINE_H

#include "dlock_storage.h"

/* How an acquire is to go; every value is within its limits. */
struct machine_plan {
    uint32_t ttl_ms, retries, interval_ms, wait_ms, margin_ms;
    bool renew; /* extend it before it ends */
    bool alarm; /* report LOST also if it is not renewed */
};

enum machine_state {
    MACHINE_FREE,
    MACHINE_ASKING,    /* an ACQUIRE is out, or about to be */
    MACHINE_RETURNING, /* the same of the RELEASE of a grant that is of no use */
    MACHINE_PAUSING,   /* until wake_at, or a hint */
    MACHINE_HELD,
    MACHINE_LOST, /* was held; `outcome` says why it is lost: LOST by the storage's word, UNAVAILABLE by the deadline */
};

/* What the driver has to do now. For the three that send: make the request, call machine_sent, send it, hand its
 * answer to machine_answer. */
enum machine_todo {
    TODO_NOTHING, /* before wake_at */
    TODO_ACQUIRE, /* send an ACQUIRE with plan.ttl_ms. If owner_spent, make a new owner first, and if leaves_behind
                     too, release the old one in the background */
    TODO_RELEASE, /* send a RELEASE of the owner that a useless grant went to */
    TODO_EXTEND,  /* send an EXTEND with plan.ttl_ms: the renewal is due */
    TODO_GRANTED, /* the acquire is over: held */
    TODO_FAILED,  /* the acquire is over: `outcome` says why. If leaves_behind, release the owner in the background */
    TODO_LOST,    /* tell the holder */
};

struct machine {
    struct machine_plan plan;
    enum machine_state state;
    dlock_status outcome; /* of the last attempt, or of the hold */
    uint32_t attempts;    /* made by this acquire */
    uint32_t asked_ttl_ms;
    uint32_t
        stray_ttl_ms;   /* the least ttl of this owner's requests without an answer, which may still arrive; 0 = none */
    bool watched;       /* hints come for this key: set by the driver at will */
    bool owner_spent;   /* a release was sent for the owner, also by the storage; or there is none yet */
    bool leaves_behind; /* an ACQUIRE of this owner ended without an answer, or left a stray: it may take the key, or a
                           part of it, now or later */
    bool extending;     /* an EXTEND is out, or about to be; there is never a second one */
    bool contended;     /* the last attempt and those of others were in each other's way, so that nobody may hold it */
    bool cancelled, hinted;
    int64_t sent_at;                        /* when the last request was sent */
    int64_t deadline;                       /* of the acquire; LEASE_NEVER = none */
    int64_t wake_at;                        /* call machine_wake then; LEASE_NEVER = not needed */
    int64_t valid_until, renew_at, lost_at; /* while held */
};

/* An acquire begins. `in_line`: others of this process wait before it, so it pauses until a hint or its deadline. */
enum machine_todo machine_acquire(struct machine *m, const struct machine_plan *plan, bool in_line, int64_t now);

/* The holder wants the ttl counted anew: TODO_EXTEND, or TODO_NOTHING while another EXTEND is out: ask again after its
 * answer. */
enum machine_todo machine_extend(struct machine *m);

/* A request goes out: read `now`, call this, then send it. `ttl_ms` as in the request. */
void machine_sent(struct machine *m, uint32_t ttl_ms, int64_t now);

/* The request that is out has its answer. */
enum machine_todo machine_answer(struct machine *m, const dlock_request *request, int64_t now, uint64_t chance);

/* wake_at has come. */
enum machine_todo machine_wake(struct machine *m, int64_t now);

/* The key may have become free, or it is this waiter's turn to ask. */
enum machine_todo machine_hint(struct machine *m);

/* It is this waiter's turn, but another of this process was just granted the key, for at most `remaining_ms`. */
enum machine_todo machine_turn(struct machine *m, int64_t remaining_ms, int64_t now, uint64_t chance);

/* The acquire is no longer wanted. TODO_NOTHING while a request is out: its answer ends the acquire then. */
enum machine_todo machine_cancel(struct machine *m);

/* The hold ends by the holder's will: release, detach. The answer to a request that is out must not be told. */
void machine_leave(struct machine *m);

/* A hold by an owner token from elsewhere begins; its validity is not known before an EXTEND. */
void machine_adopt(struct machine *m, uint32_t ttl_ms);

#endif
