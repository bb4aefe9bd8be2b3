/* answer.h - what one node says of one request: the commands that ask it, and its replies. No I/O.
 *
 * Called by redis.c and list.c; fuzz/fuzz_resp.c feeds it with what no node would say. */
#ifndef DLOCK_REDIS_ANSWER_H
#define DLOCK_REDIS_ANSWER_H

#include "dlock_storage.h"

struct redisReply;

enum vote {
    VOTE_NONE,   /* not asked, or no answer yet */
    VOTE_YES,    /* done; of INSPECT and BREAK: there is, or was, a record */
    VOTE_ABSENT, /* there is no record */
    VOTE_OTHER,  /* there is one of somebody else */
    VOTE_FAILED, /* an error, or no answer to be had */
};

struct answer {
    enum vote vote;
    dlock_status status;    /* of VOTE_FAILED */
    bool uncertain;         /* of VOTE_FAILED: it may have been carried out */
    bool asked;             /* the request was written for the node */
    bool holds;             /* the node has, or may have, a record of ours from this request */
    bool told;              /* to remove it, behind the request on the same connection */
    bool returned;          /* it has done so */
    bool held_before;       /* of VOTE_YES to an acquire: the hold was there and has its fence */
    bool accepted;          /* of VOTE_YES to a proposal: the node took the fence that was wanted */
    bool settled;           /* it was told the fence of the hold */
    dlock_info info;        /* of the record */
    int64_t acquired_at_us; /* of VOTE_YES to EXTEND: the node's time, for repairs elsewhere */
    int64_t time_us;        /* of the node, when it carried out a proposal; 0 = not told */
};

/* What is asked of a node; the first ones are the library's operations. */
enum question {
    ASK_ACQUIRE = DLOCK_ACQUIRE,
    ASK_EXTEND = DLOCK_EXTEND,
    ASK_RELEASE = DLOCK_RELEASE,
    ASK_INSPECT = DLOCK_INSPECT,
    ASK_BREAK = DLOCK_BREAK,
    ASK_PROPOSE, /* as ASK_ACQUIRE, of one of several nodes: it takes the fence that is wanted, or proposes another */
    ASK_SETTLE,  /* this is the fence of the hold */
    ASK_REPAIR,  /* have the hold that other nodes have */
    ASK_RETURN,  /* remove what an acquire left that failed */
};

/* What some questions have besides their request. */
struct details {
    uint64_t fence;         /* of ASK_SETTLE and ASK_REPAIR; of ASK_PROPOSE: that is wanted, 0 = none */
    int64_t acquired_at_us; /* of ASK_REPAIR */
    unsigned nodes, node;   /* of ASK_PROPOSE: it proposes a fence that divided by `nodes` + 1 leaves `node` */
};

/* Writes the command into *ret, which is freed by answer_free_command; its length, or -1 without memory. `eval` sends
 * the script itself instead of its name. */
long long answer_command(char **ret, enum question question, const char *prefix, const dlock_request *request,
                         const struct details *details, bool eval);

/* The same for several questions of those that may share a call of the script: 1 to ANSWER_SHARED_MAX. */
#define ANSWER_SHARED_MAX 32
bool answer_may_share(enum question question);
long long answer_shared_command(char **ret, const char *prefix, const enum question *questions,
                                const dlock_request *const *requests, size_t count, bool eval);
void answer_free_command(char *command);

/* The i-th reply in that to a shared call: of an error that all of it met, that error. */
const struct redisReply *answer_part(const struct redisReply *reply, size_t i, size_t count);

/* Reads the reply to a question. False if it is an error of the node or no answer to this question; then `why` says
 * what it was, and `ret` is VOTE_FAILED. */
bool answer_read(const struct redisReply *reply, enum question question, struct answer *ret, char *why, size_t size);

/* Did the node refuse the whole call, maybe because of only one of its keys? */
bool answer_is_noperm(const struct redisReply *reply);

/* Did the node not know the script by its name? */
bool answer_is_noscript(const struct redisReply *reply);

/* The status that an error of a node means, and the text of it that may be shown. */
dlock_status answer_classify(const char *error, char *shown, size_t size);

#endif
