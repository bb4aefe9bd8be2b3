/* redlock.pml - Redlock as storages/redis does it: three nodes, a majority decides, and takes the fence that the client
 * wants, or is told one.
 *
 * Run by models/run.py; README.md beside it says what is checked, and what is left out. A node is lock.lua; what a client
 * makes of its answers is round.c with quorum.c, and src/machine.c for when an owner is given up. One node may restart
 * and forget. Each BROKEN_... is a mistake that has to be found; each LIMIT_... is a fault that docs/guarantees.md says is
 * too much, and has to be found too. */

#define NODES 3
#define ALL   7 /* as bits, one for each */
#ifdef BROKEN_HALF_IS_A_MAJORITY
#define QUORUM (NODES / 2)
#else
#define QUORUM (NODES / 2 + 1)
#endif

#define CLIENTS 2
#ifndef OWNERS
#define OWNERS 2 /* acquisitions in all; an owner token is a number from 1 */
#endif
#ifndef FORGETS
#define FORGETS 1
#endif
#ifndef EXTENDS
#define EXTENDS 0 /* that the first client makes in all; if any, each client acquires once */
#endif
#define TTL 2 /* ticks */

#define BIT(n)      (1 << (n))
#define COUNT(bits) (((bits) & 1) + (((bits) >> 1) & 1) + (((bits) >> 2) & 1))
#define MAX(a, b)   ((a) > (b) -> (a) : (b))

mtype = { FREE, ASKING, SETTLING, HELD, EXTENDING };

/* ---- the nodes ----------------------------------------------------------------------------------------------------
 */

typedef node {
    byte owner, left; /* of its record; 0 = there is none */
    byte counter;
    byte guard; /* ticks for which it has no vote, since it was restarted */
};
node nodes[NODES];
byte forgotten;

/* ---- the clients, and what they have on its way -------------------------------------------------------------------
 *
 * Any of it may arrive in any order, at any time, or never. A request to take a record back may arrive again and again: it
 * is repeated in the background. */

typedef client {
    mtype state = FREE;
    byte owner;
    byte age;     /* ticks since the request was sent */
    byte valid;   /* ticks for which it may believe that it holds */
    byte wanted;  /* the fence that nodes are asked to take; 0 = none */
    byte fence;   /* the largest that was proposed, then the hold's */
    byte yes;     /* bits of the nodes that granted, or extended */
    byte taken;   /* ... that took the fence that was wanted */
    byte settled; /* ... that know the fence */
    byte absent;  /* ... that have no record to extend */
    bool guarded; /* the restarted node granted, but may have forgotten others: it counts when that is over */
    byte proposes, settles, extends, repairs; /* bits of the nodes that each is on its way to */
};
client clients[CLIENTS];
bool returns[OWNERS + 1];
byte last_owner, extended;
#ifdef BROKEN_OWNER_USED_AGAIN
bool used_again;
#endif

/* ---- what only the properties look at ------------------------------------------------------------------------------
 */

#ifdef ONLY_HOLDERS
#define CLAIM(truth) skip /* what a broken rule leads to is of interest, not the first claim that is violated */
#else
#define CLAIM(truth) assert(truth)
#endif

byte told_fence; /* the greatest fence of a hold that a client was told of */

#define C clients[c]

inline forget_answers(c)
{
    C.yes = 0;
    C.taken = 0;
    C.settled = 0;
    C.absent = 0;
    C.guarded = false
}

/* What is on its way for an owner that nobody means any more is taken for lost: if it arrived, it would do no more than
 * keep others from the key, and raise a counter. */
inline forget_requests(c)
{
    C.proposes = 0;
    C.settles = 0;
    C.extends = 0;
    C.repairs = 0
}

inline forget(c)
{
    C.state = FREE;
    C.owner = 0;
    C.age = 0;
    C.valid = 0;
    C.wanted = 0;
    C.fence = 0;
    forget_answers(c);
    forget_requests(c)
}

inline send_propose(c)
{
    CLAIM(!returns[C.owner]); /* an owner is never used again once a release was sent for it */
    forget_answers(c);
    forget_requests(c);
    C.proposes = ALL;
    C.state = ASKING;
    C.fence = 0;
#ifdef WANTS
    if /* whatever the client takes for the nodes' time */
    :: C.wanted = 1
    :: C.wanted = 2
    fi;
#endif
    C.age = 0
}

inline take_new_owner(c)
{
    last_owner++;
    C.owner = last_owner
}

/* What was granted, or may be, is taken back on all nodes; then there is another attempt, or none. */
inline take_back(c)
{
    returns[C.owner] = true;
    if
#ifdef BROKEN_OWNER_USED_AGAIN
    :: !used_again ->
        used_again = true;
        send_propose(c)
#endif
    :: true -> forget(c)
    fi
}

#ifdef BROKEN_VALIDITY_FROM_REPLY
#define VALIDITY(c) TTL
#else
#define VALIDITY(c) (TTL - C.age)
#endif

inline believe(c)
{
    assert(clients[1 - c].valid == 0); /* one holder at a time */
    C.valid = VALIDITY(c);
    C.state = HELD;
    C.age = 0;
    forget_answers(c)
}

inline grant(c)
{
    if
    :: VALIDITY(c) > 0 ->
        believe(c);
        CLAIM(C.fence > told_fence); /* fences grow */
        told_fence = C.fence;
        if
        :: c == 0 && extended < EXTENDS -> skip
        :: else -> /* what is late would do no more than keep others from the key */
            C.proposes = 0;
            C.settles = 0
        fi
    :: else -> take_back(c)
    fi
}

inline judge_settled(c)
{
    if
    :: COUNT(C.yes & (C.settled | (C.fence == C.wanted -> C.taken : 0))) >= QUORUM -> grant(c)
    :: else
    fi
}

#ifdef BROKEN_MINORITY_TAKES_THE_FENCE
#define ENOUGH_TO_TAKE 1
#else
#define ENOUGH_TO_TAKE QUORUM
#endif

inline judge_acquire(c)
{
    if
    :: COUNT(C.yes) >= QUORUM && COUNT(C.yes & C.taken) >= ENOUGH_TO_TAKE ->
        C.fence = C.wanted;
        grant(c)
    :: COUNT(C.yes) >= QUORUM && COUNT(C.yes & C.taken) < ENOUGH_TO_TAKE ->
#ifdef BROKEN_FENCE_NOT_WRITTEN_BACK
        grant(c)
#else
        C.state = SETTLING;
        C.settles = ALL
#endif
    :: else
    fi
}

/* A vote that comes while the fence is being settled adds a node that may learn it, but proposes nothing. */
inline take_vote(c, n)
{
    C.yes = C.yes | BIT(n);
    if
    :: C.state == ASKING -> judge_acquire(c)
    :: else -> judge_settled(c)
    fi
}

proctype Client(byte c)
{
end:
    do
    :: atomic { /* the clients are alike, so it does not matter which is the first one */
        C.state == FREE && last_owner < OWNERS && ((last_owner > 0 && EXTENDS == 0) || last_owner == c) ->
        take_new_owner(c);
        send_propose(c)
    }
    :: atomic { /* denied, or out of time */
        C.state == ASKING || C.state == SETTLING ->
        take_back(c)
    }
    :: atomic { /* a restarted node answered, and meanwhile all that it may have forgotten is over */
        C.guarded && nodes[0].guard == 0 ->
        C.guarded = false;
        take_vote(c, 0)
    }
#if EXTENDS > 0
    :: atomic {
        c == 0 && C.state == HELD && extended < EXTENDS ->
        extended++;
        C.extends = ALL;
        C.state = EXTENDING;
        C.age = 0
    }
    :: atomic {
        C.state == EXTENDING ->
        C.state = HELD;
        C.age = 0;
        forget_answers(c)
    }
#endif
    :: atomic { /* the user releases, or the hold is lost; or kill -9, when no release arrives anywhere */
        C.state == HELD || C.state == EXTENDING ->
        returns[C.owner] = true;
        forget(c)
    }
    od
}

/* ---- a node carries out what arrives ---------------------------------------------------------------------------------
 */

#define NODE nodes[n]

inline drop_record(n)
{
    NODE.owner = 0;
    NODE.left = 0
}

#ifdef BROKEN_SMALLER_FENCE_TAKEN
#define TAKES_WANTED(c, n) (C.wanted > 0)
#else
#define TAKES_WANTED(c, n) (C.wanted > NODE.counter)
#endif

/* Each answer comes, or is lost. */

inline propose(c)
{
    C.proposes = C.proposes & ~BIT(n);
    if
    :: NODE.owner != 0 && NODE.owner != C.owner
    :: else ->
        if
        :: TAKES_WANTED(c, n) ->
            NODE.counter = C.wanted;
            C.taken = (C.state == ASKING || C.state == SETTLING -> C.taken | BIT(n) : C.taken)
        :: !TAKES_WANTED(c, n) -> NODE.counter++
        fi;
        NODE.owner = C.owner;
        NODE.left = TTL;
        C.fence = (C.state == ASKING -> MAX(C.fence, NODE.counter) : C.fence);
        if
        :: C.state != ASKING && C.state != SETTLING -> skip
#ifndef BROKEN_NO_RESTART_GUARD
        :: (C.state == ASKING || C.state == SETTLING) && NODE.guard > 0 -> C.guarded = true
#endif
        :: else -> take_vote(c, n)
        fi
    fi
}

inline learn_fence(c)
{
    NODE.counter = MAX(NODE.counter, C.fence)
}

inline settle(c)
{
    C.settles = C.settles & ~BIT(n);
    if
    :: NODE.owner == C.owner ->
        learn_fence(c);
        if
        :: C.state == SETTLING ->
            C.settled = C.settled | BIT(n);
            judge_settled(c)
        :: else
        fi
    :: else
    fi
}

/* A majority may have it anew, by requests that came late, after others had the key. */
#ifdef BROKEN_LATE_EXTEND_BELIEVED
#define VALID_STILL(c) true
#else
#define VALID_STILL(c) (C.valid > 0)
#endif

inline judge_extended(c)
{
    if
    :: COUNT(C.yes) >= QUORUM ->
        C.repairs = C.repairs | C.absent;
        if
        :: VALIDITY(c) > 0 && VALID_STILL(c) ->
            believe(c);
            CLAIM(C.fence >= told_fence) /* nobody was told of a hold since */
        :: else ->
            returns[C.owner] = true;
            forget(c)
        fi
    :: else
    fi
}

inline extend(c)
{
    C.extends = C.extends & ~BIT(n);
    NODE.left = (NODE.owner == C.owner -> TTL : NODE.left);
    if
    :: C.state == EXTENDING -> /* else it is late */
        C.yes = (NODE.owner == C.owner -> C.yes | BIT(n) : C.yes);
        C.absent = (NODE.owner == 0 -> C.absent | BIT(n) : C.absent);
        judge_extended(c)
    :: else
    fi
}

inline repair(c)
{
    C.repairs = C.repairs & ~BIT(n);
    if
    :: NODE.owner == 0 ->
        NODE.owner = C.owner;
        NODE.left = TTL;
        learn_fence(c)
    :: else
    fi
}

inline lose_requests(c)
{
    C.proposes = C.proposes & ~BIT(n);
    C.settles = C.settles & ~BIT(n);
    C.extends = C.extends & ~BIT(n);
    C.repairs = C.repairs & ~BIT(n)
}

/* What is on its way to the node goes with its connections. */
inline forget_all()
{
    drop_record(n);
    lose_requests(0);
    lose_requests(1);
    forgotten++;
    NODE.guard = TTL;
#ifdef BROKEN_FENCE_WITHOUT_CLOCK
    NODE.counter = 0
#else
    /* Its clock is ahead of all fences that were given before. */
    NODE.counter = MAX(NODE.counter, MAX(nodes[1].counter, nodes[2].counter))
#endif
}

#define IS_ON_ITS_WAY(bits) ((bits & BIT(n)) != 0)

proctype Node(byte n)
{
end:
    do
    :: atomic { IS_ON_ITS_WAY(clients[0].proposes) -> propose(0) }
    :: atomic { IS_ON_ITS_WAY(clients[1].proposes) -> propose(1) }
    :: atomic { IS_ON_ITS_WAY(clients[0].settles) -> settle(0) }
    :: atomic { IS_ON_ITS_WAY(clients[1].settles) -> settle(1) }
#if EXTENDS > 0
    :: atomic { IS_ON_ITS_WAY(clients[0].extends) -> extend(0) }
    :: atomic { IS_ON_ITS_WAY(clients[0].repairs) -> repair(0) }
#endif
    :: atomic { NODE.owner != 0 && returns[NODE.owner] -> drop_record(n) }
    /* The nodes are alike, so it does not matter which of them it is. */
    :: atomic {
        n == 0 && forgotten < FORGETS ->
        forget_all()
    }
#ifdef LIMIT_FLUSHED_WITHOUT_RESTART
    :: atomic {
        n == 1 && NODE.owner != 0 ->
        drop_record(n)
    }
#endif
#ifdef LIMIT_CLOCK_AHEAD
    :: atomic {
        n == 1 && NODE.left > 1 ->
        NODE.left--
    }
#endif
    od
}

/* ---- time ---------------------------------------------------------------------------------------------------------
 */

#define AGES(c) (clients[c].age < TTL && clients[c].state != FREE && clients[c].state != HELD)

inline client_tick(c)
{
    C.valid = (C.valid > 0 -> C.valid - 1 : 0);
    C.age = (AGES(c) -> C.age + 1 : C.age)
}

inline node_tick(n)
{
    NODE.guard = (NODE.guard > 0 -> NODE.guard - 1 : 0);
    NODE.left = (NODE.left > 0 -> NODE.left - 1 : 0);
    if
    :: NODE.left == 0 -> drop_record(n)
    :: else
    fi
}

proctype Clock()
{
end:
    do
    :: atomic {
        nodes[0].left > 0 || nodes[1].left > 0 || nodes[2].left > 0 || nodes[0].guard > 0 || clients[0].valid > 0 ||
        clients[1].valid > 0 ||
        AGES(0) || AGES(1) ->
        client_tick(0);
        client_tick(1);
        node_tick(0);
        node_tick(1);
        node_tick(2)
    }
    od
}

init
{
    atomic {
        run Clock();
        run Client(0);
        run Client(1);
        run Node(0);
        run Node(1);
        run Node(2)
    }
}
