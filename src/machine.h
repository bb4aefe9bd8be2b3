/* machine.h - the state machine of one lock: pure steps over events, time and chance.
 *
 * It does no I/O and reads no clock. Its driver (lock.c with threads, tests/sim with a fake clock) tells it what
 * happened and carries out what it answers. Times are microseconds of CLOCK_BOOTTIME. */
#ifndef DLOCK_SRC_MACHINE_H
#define DLOCK_SRC_MACHINE_H

#include "dlock.h"

/* How an acquire is to go; every value is within its limits. */
struct machine_plan {
    uint32_t ttl_ms, retries, interval_ms, wait_ms, margin_ms;
    bool renew; /* extend it before it ends */
    bool alarm; /* report LOST also if it is not renewed */
};

enum machine_state {
    MACHINE_FREE,
    MACHINE_ASKING,    /* an ACQUIRE is out */
    MACHINE_RETURNING, /* the RELEASE of a grant that came too late is out */
    MACHINE_PAUSING,   /* until wake_at, or a hint */
    MACHINE_HELD,
    MACHINE_LOST,      /* was held; LOST was reported */
};

/* What the driver has to do now. */
enum machine_todo {
    TODO_NOTHING, /* until wake_at */
    TODO_ACQUIRE, /* call machine_sent, send an ACQUIRE with `plan.ttl_ms`, tell the answer by machine_answer. If `owner_spent`, make a
                     new owner first */
    TODO_RELEASE, /* the same with a RELEASE of the owner of the grant that came too late */
    TODO_EXTEND,  /* the same with an EXTEND with `plan.ttl_ms`, while the lock is held: a renewal */
    TODO_GRANTED, /* the acquire is over: held */
    TODO_FAILED,  /* the acquire is over: `outcome` says why. If `leaves_behind`, its owner may yet hold the key: release it in the background */
    TODO_LOST,    /* tell the holder */
};

struct machine {
    struct machine_plan plan;
    enum machine_state state;
    dlock_status outcome; /* of the last attempt */
    uint32_t attempts;    /* made by this acquire */
    bool watched;         /* hints come for this key: set by the driver at will */
    bool owner_spent;     /* a release was sent for the owner, or there is none yet */
    bool leaves_behind;   /* an ACQUIRE of this owner ended without an answer */
    bool renewing;        /* an EXTEND is out (by renewal or by the user) */
    bool cancelled, hinted;
    int64_t sent_at;      /* when the request that is out was sent, or the last one */
    int64_t deadline;     /* of the acquire; LEASE_NEVER = none */
    int64_t wake_at;      /* call machine_wake then; LEASE_NEVER = not needed */
    int64_t valid_until, renew_at, lost_at; /* while held */
};

/* An acquire begins. `in_line`: others of this process wait before it, so it pauses until a hint or its deadline. */
enum machine_todo machine_acquire(struct machine *m, const struct machine_plan *plan, bool in_line, int64_t now);

/* A request goes out now: call it just before sending, also for a user's EXTEND (with the ttl that it asks for). */
void machine_sent(struct machine *m, uint32_t ttl_ms, int64_t now);

/* The answer to the request that is out. `remaining_ms` is the holder's with BUSY, -1 = not known. */
enum machine_todo machine_answer(struct machine *m, dlock_status status, int64_t remaining_ms, int64_t now,
                                 uint64_t chance);

/* wake_at has come. */
enum machine_todo machine_wake(struct machine *m, int64_t now, uint64_t chance);

/* The key may have become free, or it is this waiter's turn. */
enum machine_todo machine_hint(struct machine *m);

/* It is this waiter's turn, but the key was just granted to another of this process, for at most `remaining_ms`. */
enum machine_todo machine_turn(struct machine *m, int64_t remaining_ms, int64_t now, uint64_t chance);

/* The user no longer wants the acquire. TODO_NOTHING while a request is out: its answer ends the acquire. */
enum machine_todo machine_cancel(struct machine *m);

/* The hold ends by the user's will: release, detach. Whatever is out is ignored from now on. */
void machine_leave(struct machine *m);

/* A hold by somebody else's token begins; its validity is not known. */
void machine_adopt(struct machine *m);

#endif
