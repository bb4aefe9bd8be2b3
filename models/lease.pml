/* lease.pml - the lease: one key, one storage, clients that crash, answers and requests that are lost or late.
 *
 * Run by models/run.py; README.md beside it says what is checked, and what is left out. A storage is one atomic step per
 * request, as include/dlock_storage.h asks; a client is src/machine.c with what src/lock.c does for it. Each BROKEN_...
 * is a mistake that has to be found. */

#ifndef CLIENTS
#define CLIENTS 2
#endif
#ifndef OWNERS
#define OWNERS 3 /* acquisitions in all; an owner token is a number from 1 */
#endif
#ifndef RESENDS
#define RESENDS 1 /* attempts in all that are made again with the same owner */
#endif
#ifdef TWO_TTLS
#define LONG 3 /* ttl of an ACQUIRE, in ticks; an EXTEND asks for that or for SHORT */
#else
#define LONG 2
#endif
#define SHORT   2
#define DRIFT   1 /* by so much the storage's clock may be ahead in one lease */
#define FOREVER 15

#ifdef BROKEN_DRIFT_FORGOTTEN
#define MARGIN 0
#else
#define MARGIN DRIFT
#endif

#ifdef BROKEN_EXPIRY_SET_LATER
#define FIRST_TTL(ttl) FOREVER
#else
#define FIRST_TTL(ttl) ttl
#endif

#define MIN(a, b) (a < b -> a : b)

mtype = { FREE, ASKING, HELD, EXTENDING }; /* EXTENDING is held, with an EXTEND out */
mtype = { NO_ANSWER, OK, BUSY, LOST };

/* ---- the storage --------------------------------------------------------------------------------------------------
 */

byte record_owner, record_fence, record_left; /* left: ticks of its lease; 0 = there is no record, or none that counts */
bool record_drifted;
byte counter;

/* ---- what is on its way: any of it may arrive in any order, at any time, or never ------------------------------------
 *
 * A RELEASE that was sent may arrive again and again: it is repeated in the background. */

byte acquires[OWNERS + 1];
bool long_extends[OWNERS + 1], short_extends[OWNERS + 1];
bool releases[OWNERS + 1];

/* ---- the clients --------------------------------------------------------------------------------------------------
 */

typedef client {
    mtype state = FREE;
    byte owner, fence;
    byte age;    /* ticks since the last request was sent */
    byte valid;  /* ticks for which it may believe that it holds */
    byte asked;  /* ttl of the request that is out */
    byte stray;  /* the least ttl of this owner's requests that had no answer; 0 = none */
    bool leaves; /* an ACQUIRE of this owner had no answer */
    bool out;    /* the request that is waited for has not arrived */
    mtype answer = NO_ANSWER;
    byte answer_fence;
};
client clients[CLIENTS];
byte last_owner, resends;

/* ---- what only the properties look at ------------------------------------------------------------------------------
 */

#ifdef ONLY_HOLDERS
#define CLAIM(truth) skip /* what a broken rule leads to is of interest, not the first claim that is violated */
#else
#define CLAIM(truth) assert(truth)
#endif

byte told_fence;       /* the greatest fence of a hold that a client was told of */
bool dead[OWNERS + 1]; /* its client crashed, or learned that the hold is lost: the ttl alone ends what is left of it */

#define USES(c, o) (clients[c].state != FREE && clients[c].owner == o)
#if CLIENTS == 2
#define USED(o)        (USES(0, o) || USES(1, o))
#define OTHERS_HOLD(c) (clients[1 - c].valid > 0)
#else
#define USED(o)        (USES(0, o) || USES(1, o) || USES(2, o))
#define OTHERS_HOLD(c) (clients[(c + 1) % 3].valid > 0 || clients[(c + 2) % 3].valid > 0)
#endif

/* A hold that nobody knows of is being released. */
inline check_cared_for()
{
    assert(record_left == 0 || USED(record_owner) || releases[record_owner] || dead[record_owner])
}

#define ME clients[me]

inline send_acquire()
{
    CLAIM(!releases[ME.owner]); /* an owner is never used again once a release was sent for it */
    acquires[ME.owner]++;
    ME.asked = LONG;
    ME.age = 0;
    ME.out = true
}

inline send_extend(ttl)
{
    if
    :: ttl == LONG -> long_extends[ME.owner] = true
    :: else -> short_extends[ME.owner] = true
    fi;
    ME.asked = ttl;
    ME.age = 0;
#ifndef BROKEN_SHORTER_NOT_CUT
    ME.valid = MIN(ME.valid, ttl - MARGIN);
#endif
    ME.state = EXTENDING;
    ME.out = true
}

/* The client forgets all of it; also for fewer states. */
inline forget()
{
    long_extends[ME.owner] = false;
    short_extends[ME.owner] = false;
    ME.state = FREE;
    ME.owner = 0;
    ME.fence = 0;
    ME.age = 0;
    ME.valid = 0;
    ME.asked = 0;
    ME.stray = 0;
    ME.leaves = false;
    ME.out = false;
    ME.answer = NO_ANSWER;
    ME.answer_fence = 0
}

inline take_new_owner()
{
    last_owner++;
    ME.owner = last_owner;
    ME.stray = 0;
    ME.leaves = false
}

inline release_owner()
{
    releases[ME.owner] = true
}

/* `counted` and `valid` are of the process. */
inline count_validity()
{
    counted = ME.asked;
    if
    :: ME.stray > 0 -> counted = MIN(ME.stray, counted)
    :: else
    fi;
#ifdef BROKEN_VALIDITY_FROM_REPLY
    valid = counted - MARGIN
#else
    valid = (counted - MARGIN > ME.age -> counted - MARGIN - ME.age : 0)
#endif
}

inline note_stray()
{
#ifndef BROKEN_STRAY_FORGOTTEN
    ME.stray = (ME.stray > 0 && ME.stray < ME.asked -> ME.stray : ME.asked)
#else
    skip
#endif
}

/* No answer: closing the session makes sure that none comes later. */
inline give_up_waiting()
{
    ME.out = false;
    ME.answer = NO_ANSWER;
    ME.answer_fence = 0
}

inline believe(ticks)
{
    assert(!OTHERS_HOLD(me)); /* one holder at a time */
    ME.valid = ticks;
    ME.state = HELD;
    ME.age = 0;
    ME.asked = 0;
    ME.answer = NO_ANSWER;
    ME.answer_fence = 0
}

/* After an attempt without success: the next one, or an end. */
inline ask_again_or_give_up()
{
    if
    :: resends < RESENDS ->
        resends++;
        ME.answer = NO_ANSWER;
        send_acquire()
    :: true ->
        if
        :: ME.leaves -> release_owner()
        :: else
        fi;
        forget();
        check_cared_for()
    fi
}

inline acquire_granted()
{
    count_validity();
    if
    :: valid > 0 ->
        ME.fence = ME.answer_fence;
        believe(valid);
        CLAIM(ME.fence > told_fence); /* fences grow */
        told_fence = ME.fence
    :: else -> /* its validity is over before it came: no grant */
        release_owner();
        if
        :: last_owner < OWNERS ->
#ifndef BROKEN_OWNER_USED_AGAIN
            take_new_owner();
#endif
            ME.answer = NO_ANSWER;
            ME.answer_fence = 0;
            send_acquire()
        :: true -> forget()
        fi
    fi
}

inline extend_granted()
{
    count_validity();
#ifdef BROKEN_LATE_EXTEND_BELIEVED
    if
    :: valid > 0 ->
#else
    /* What was extended may be what a stray ACQUIRE took anew, after others had the key. */
    if
    :: valid > 0 && !(ME.leaves && ME.valid == 0) ->
#endif
        believe(valid);
        CLAIM(ME.fence >= told_fence) /* nobody was told of a hold since */
    :: else ->
        release_owner();
        forget()
    fi
}

proctype Client(byte me)
{
    byte counted, valid;
end:
    do
    :: atomic { /* the clients are alike, so it does not matter which is the first one */
        ME.state == FREE && last_owner < OWNERS && (last_owner > 0 || me == 0) ->
        take_new_owner();
        ME.state = ASKING;
        send_acquire()
    }
    :: atomic {
        ME.state == ASKING && ME.answer == OK ->
        acquire_granted();
        counted = 0;
        valid = 0
    }
    :: atomic {
        ME.state == ASKING && ME.answer == BUSY ->
        ask_again_or_give_up()
    }
    :: atomic { /* the answer is lost, or does not come in time */
        ME.state == ASKING && (ME.out || ME.answer != NO_ANSWER) ->
#ifdef BROKEN_LOST_REPLY_IS_SUCCESS
        give_up_waiting();
        believe(LONG - MARGIN)
#else
        give_up_waiting();
        note_stray();
#ifndef BROKEN_LOST_REPLY_IS_FAILURE
        ME.leaves = true;
#endif
        ask_again_or_give_up()
#endif
    }
    :: atomic {
        ME.state == HELD && !long_extends[ME.owner] ->
        send_extend(LONG)
    }
#ifdef TWO_TTLS
    :: atomic {
        ME.state == HELD && !short_extends[ME.owner] ->
        send_extend(SHORT)
    }
#endif
    :: atomic {
        ME.state == EXTENDING && ME.answer == OK ->
        extend_granted();
        counted = 0;
        valid = 0
    }
    :: atomic {
        ME.state == EXTENDING && ME.answer == LOST ->
        dead[ME.owner] = true;
        forget()
    }
    :: atomic {
        ME.state == EXTENDING && (ME.out || ME.answer != NO_ANSWER) ->
        give_up_waiting();
        note_stray();
        ME.age = 0;
        ME.asked = 0;
        ME.state = HELD
    }
    :: atomic { /* the user releases, also while a renewal is out */
        ME.state == HELD || ME.state == EXTENDING ->
        release_owner();
        forget()
    }
    :: atomic { /* kill -9 */
        ME.state != FREE ->
        dead[ME.owner] = true;
        forget()
    }
    od
}

/* ---- the storage carries out what arrives ---------------------------------------------------------------------------
 */

inline write_lease(ttl)
{
    record_left = ttl;
    record_drifted = false
}

inline drop_record()
{
    record_owner = 0;
    record_fence = 0;
    record_left = 0;
    record_drifted = false
}

inline carry_out_acquire(o)
{
    if
    :: record_left > 0 && record_owner == o ->
        write_lease(LONG);
        result = OK
    :: record_left > 0 && record_owner != o ->
        result = BUSY
    :: record_left == 0 ->
        counter++;
#ifdef BROKEN_TAKE_OVER_NOT_REFRESHED
        /* Of a record that is still there the start stays as it was, so that it is over for the next one too. */
        write_lease((record_owner == 0 -> LONG : 0));
#else
        write_lease(FIRST_TTL(LONG));
#endif
        record_owner = o;
        record_fence = counter;
        result = OK
    fi
}

inline carry_out_extend(o, ttl)
{
    if
#ifdef BROKEN_EXTEND_WITHOUT_OWNER
    :: record_left > 0 ->
#else
    :: record_left > 0 && record_owner == o ->
#endif
        write_lease(ttl);
        result = OK
    :: else -> result = LOST
    fi
}

inline carry_out_release(o)
{
    if
#ifdef BROKEN_RELEASE_WITHOUT_OWNER
    :: record_left > 0 ->
#else
    :: record_left > 0 && record_owner == o ->
#endif
        drop_record();
#ifdef BROKEN_FENCE_IN_RECORD
        counter = 0
#endif
    :: else
    fi
}

#define WAITS(c, o, what, ttl) (clients[c].out && clients[c].owner == o && clients[c].state == what && clients[c].asked == ttl)

/* The answer goes to who waits for this very request; a copy that was sent before is answered to nobody. */
inline tell(o, what, ttl, copies_left)
{
    c = 0;
    do
    :: c < CLIENTS && WAITS(c, o, what, ttl) ->
        if
        :: true ->
            clients[c].out = false;
            clients[c].answer = result;
            clients[c].answer_fence = (result == OK && what == ASKING -> record_fence : 0)
        :: copies_left > 0 -> skip
        fi;
        break
    :: c < CLIENTS && !(WAITS(c, o, what, ttl)) -> c++
    :: c == CLIENTS -> break
    od;
    c = 0;
    result = NO_ANSWER
}

proctype Arrivals(byte o)
{
    byte c;
    mtype result = NO_ANSWER;
end:
    do
    :: atomic {
        acquires[o] > 0 ->
        acquires[o]--;
        carry_out_acquire(o);
        tell(o, ASKING, LONG, acquires[o]);
        check_cared_for()
    }
    :: atomic {
        long_extends[o] ->
        long_extends[o] = false;
        carry_out_extend(o, LONG);
        tell(o, EXTENDING, LONG, 0)
    }
    :: atomic {
        short_extends[o] ->
        short_extends[o] = false;
        carry_out_extend(o, SHORT);
        tell(o, EXTENDING, SHORT, 0)
    }
    :: atomic {
        releases[o] && record_left > 0 && (record_owner == o
#ifdef BROKEN_RELEASE_WITHOUT_OWNER
        || true
#endif
        ) ->
        carry_out_release(o)
    }
    od
}

/* ---- time ---------------------------------------------------------------------------------------------------------
 */

inline end_lease()
{
    if
    :: record_left == 0 ->
        record_fence = 0;
        record_drifted = false;
#ifndef BROKEN_TAKE_OVER_NOT_REFRESHED
        record_owner = 0
#endif
    :: else
    fi
}

#define GROWS_OLDER(c) (clients[c].asked > 0 && clients[c].age < LONG)

proctype Clock()
{
    byte c;
end:
    do
    :: atomic {
        (record_left > 0 && record_left != FOREVER) || clients[0].valid > 0 || clients[1].valid > 0 ||
        GROWS_OLDER(0) || GROWS_OLDER(1) ->
        c = 0;
        do
        :: c < CLIENTS ->
            clients[c].valid = (clients[c].valid > 0 -> clients[c].valid - 1 : 0);
            clients[c].age = (GROWS_OLDER(c) -> clients[c].age + 1 : clients[c].age);
            c++
        :: else -> break
        od;
        c = 0;
        record_left = (record_left > 0 && record_left != FOREVER -> record_left - 1 : record_left);
        end_lease()
    }
    :: atomic { /* the storage's clock is ahead */
        record_left > 0 && record_left != FOREVER && !record_drifted ->
        record_left--;
        record_drifted = true;
        end_lease()
    }
    od
}

init
{
    byte i;
    atomic {
        run Clock();
        for (i : 0 .. CLIENTS - 1) {
            run Client(i)
        }
        for (i : 1 .. OWNERS) {
            run Arrivals(i)
        }
    }
}

#ifdef LIVENESS
/* What a dead client holds becomes free. */
#define kept_by_nobody (record_left > 0 && !(USED(record_owner)))
ltl becomes_free { [] (kept_by_nobody -> <> !(kept_by_nobody)) }
#endif
