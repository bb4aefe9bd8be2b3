/* round.c - a batch of requests on its way to all nodes: one write and one read per node, decided as soon as the
 * answers that are there decide.
 *
 * The rules of several nodes are Redlock's (Redis documentation, "Distributed Locks with Redis"), with what its
 * critique asks for (Martin Kleppmann, "How to do distributed locking"): fences that a majority knows. What a majority
 * means is quorum.c's; here is what is done about it. */
#include "quorum.h"
#include "session.h"

#include <hiredis/hiredis.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#define NODE_TIMEOUT_MIN_MS 50 /* for which a quorum waits for a slow node; else a twentieth of the ttl */

enum phase {
    PHASE_WAITING, /* for an earlier request of its key: on several nodes one may take two round trips */
    PHASE_ASKING,
    PHASE_SETTLING,  /* an ACQUIRE was granted; a majority is to learn its fence */
    PHASE_RETURNING, /* it was not granted; nodes that did are to take it back */
    PHASE_DONE,
};

/* A request on its way. */
struct task {
    dlock_request *request;
    enum phase phase;
    uint32_t key_hash;
    int64_t deadline;      /* of this phase */
    int64_t last_deadline; /* of all of it */
    int64_t sent_at;
    uint64_t fence;         /* that is wanted; from PHASE_SETTLING on the hold's, or of a hold that is repaired */
    int64_t acquired_at_us; /* of a hold that is repaired */
    struct answer *answers; /* one per node */
};

/* What a node is asked in this batch, in this order; of it, `sent` are in commands. */
struct outbox {
    struct asked {
        uint32_t task;
        enum question question;
    } * asked;
    size_t count, room, sent;
    bool eval;  /* the next command has the script itself: the node does not know it */
    bool alone; /* the next ones do not share a call */
};

static bool spread(const struct redis_session *session)
{
    return session->node_count > 1;
}

/* Adds to the words for the user why a node is of no use. */
static void add_reason(struct task *task, const char *why)
{
    char *message = task->request->message;
    const size_t used = strlen(message);
    snprintf(message + used, sizeof task->request->message - used, "%s%s", used ? "; " : "", why);
}

static void fail_answer(struct task *task, struct answer *answer, dlock_status status, bool uncertain, const char *why)
{
    answer->vote = VOTE_FAILED;
    answer->status = status;
    answer->uncertain = uncertain;
    add_reason(task, why);
}

/* ---- asking -------------------------------------------------------------------------------------------------------
 */

/* It goes out with the next send_out, which may put it into one call of the script with others. False if it cannot be
 * sent: what is queued for a node that is gone would reach it when nobody means it any more. */
static bool send_question(struct redis_session *session, struct task *task, size_t node, enum question question)
{
    struct outbox *outbox = &session->outboxes[node];
    if (!node_takes_commands(&session->nodes[node]))
        return false;
    if (outbox->count == outbox->room) {
        const size_t room = outbox->room * 2 + 64;
        struct asked *asked = realloc(outbox->asked, room * sizeof *asked);
        if (!asked)
            return false;
        outbox->asked = asked;
        outbox->room = room;
    }
    outbox->asked[outbox->count++] = (struct asked){(uint32_t)(task - session->tasks), question};
    return true;
}

/* How many of those that are not sent go into the next call. */
static size_t count_shared(const struct outbox *outbox)
{
    const size_t left = outbox->count - outbox->sent, most = left < ANSWER_SHARED_MAX ? left : ANSWER_SHARED_MAX;
    size_t count = 0;
    while (!outbox->alone && count < most && answer_may_share(outbox->asked[outbox->sent + count].question))
        count++;
    return count > 0 ? count : 1;
}

static long long format_call(char **ret, const struct redis_session *session, size_t node, size_t count)
{
    const struct outbox *outbox = &session->outboxes[node];
    const struct asked *asked = outbox->asked + outbox->sent;
    if (count == 1) {
        const struct task *task = &session->tasks[asked->task];
        const struct details details = {.fence = task->fence,
                                        .acquired_at_us = task->acquired_at_us,
                                        .nodes = (unsigned)session->node_count,
                                        .node = (unsigned)node};
        return answer_command(ret, asked->question, session->settings.prefix, task->request, &details, outbox->eval);
    }
    enum question questions[ANSWER_SHARED_MAX];
    const dlock_request *requests[ANSWER_SHARED_MAX];
    for (size_t i = 0; i < count; i++) {
        questions[i] = asked[i].question;
        requests[i] = session->tasks[asked[i].task].request;
    }
    return answer_shared_command(ret, session->settings.prefix, questions, requests, count, outbox->eval);
}

/* Queues the next call for a node. False without memory. */
static bool queue_call(struct redis_session *session, size_t node, size_t count)
{
    struct outbox *outbox = &session->outboxes[node];
    char *command;
    const long long size = format_call(&command, session, node, count);
    if (size < 0)
        return false;
    const bool queued = node_queue(&session->nodes[node], command, (size_t)size,
                                   (struct expected){.what = outbox->asked[outbox->sent].question,
                                                     .batch = session->batch,
                                                     .id = (uint32_t)outbox->sent,
                                                     .count = (uint32_t)count});
    answer_free_command(command);
    return queued;
}

/* On several nodes the fence of an acquire is not known before all that grant it have proposed one. */
static enum question question_of(const struct redis_session *session, const dlock_request *request)
{
    return spread(session) && request->operation == DLOCK_ACQUIRE ? ASK_PROPOSE : (enum question)request->operation;
}

static void ask_node(struct redis_session *session, struct task *task, size_t node)
{
    struct answer *answer = &task->answers[node];
    if (!node_takes_commands(&session->nodes[node]))
        fail_answer(task, answer, session->nodes[node].status, false, session->nodes[node].problem);
    else if (send_question(session, task, node, question_of(session, task->request)))
        answer->asked = true;
    else
        fail_answer(task, answer, DLOCK_NOMEM, false, "out of memory");
}

/* A node that does not matter to the decision is not waited for, so this counts only when it does. */
static int64_t node_timeout_us(const struct redis_session *session, const dlock_request *request)
{
    const int64_t all = (int64_t)session->options->timeout_ms * 1000;
    if (!spread(session))
        return all;
    if (request->operation != DLOCK_ACQUIRE && request->operation != DLOCK_EXTEND)
        return all / 2;
    const int64_t part = (int64_t)request->ttl_ms * 1000 / 20, least = NODE_TIMEOUT_MIN_MS * 1000;
    const int64_t wanted = part > least ? part : least;
    return wanted < all / 2 ? wanted : all / 2;
}

/* ---- the end of a request -----------------------------------------------------------------------------------------
 */

static void finish(struct redis_session *session, struct task *task, dlock_status status)
{
    dlock_request *request = task->request;
    task->phase = PHASE_DONE;
    session->open_tasks--;
    request->status = status;
    if (!spread(session) || status == DLOCK_OK || status == DLOCK_BUSY || status == DLOCK_LOST)
        return;
    char reasons[DLOCK_MESSAGE_SIZE], missing[64];
    memcpy(reasons, request->message, sizeof reasons);
    const size_t needed = quorum_of(session->node_count),
                 took_part = session->node_count - quorum_count(task->answers, session->node_count, VOTE_FAILED);
    if (took_part < needed)
        snprintf(missing, sizeof missing, "%zu are needed", needed);
    else
        strcpy(missing, "but do not agree");
    snprintf(request->message, sizeof request->message, "%zu of %zu nodes took part, %s: %s", took_part,
             session->node_count, missing, reasons);
}

/* May a record of this request be on the node, now or later? */
static bool may_be_left(const struct answer *answer, dlock_status status)
{
    if (!answer->asked || answer->returned)
        return false;
    /* The connection stays open, and the request to take it back is behind the one that would make it. */
    if (status == DLOCK_BUSY && answer->told)
        return false;
    return answer->holds || answer->uncertain || answer->vote == VOTE_NONE;
}

static void finish_denied(struct redis_session *session, struct task *task)
{
    const dlock_status status = quorum_denied(task->answers, session->node_count);
    dlock_info holder;
    bool left = false;
    for (size_t i = 0; i < session->node_count; i++)
        left |= may_be_left(&task->answers[i], status);
    task->request->not_done = !left;
    task->request->info = (dlock_info){.held_ms = -1, .remaining_ms = -1};
    if (status == DLOCK_BUSY &&
        quorum_holder(task->answers, session->node_count, &holder) >= quorum_of(session->node_count))
        task->request->info = holder;
    finish(session, task, status);
}

/* ---- an ACQUIRE that no majority granted --------------------------------------------------------------------------
 */

static void step_returning(struct redis_session *session, struct task *task)
{
    for (size_t i = 0; i < session->node_count; i++)
        if (task->answers[i].holds && task->answers[i].told && !task->answers[i].returned)
            return;
    finish_denied(session, task);
}

/* Also nodes whose answer is still out are told to take it back: it reaches them behind the request. */
static void give_back(struct redis_session *session, struct task *task, int64_t now)
{
    if (!spread(session)) {
        finish_denied(session, task);
        return;
    }
    for (size_t i = 0; i < session->node_count; i++) {
        struct answer *answer = &task->answers[i];
        if (answer->asked && (answer->holds || answer->vote == VOTE_NONE || answer->uncertain) &&
            send_question(session, task, i, ASK_RETURN))
            answer->told = true;
        task->request->contended |= answer->told;
    }
    task->phase = PHASE_RETURNING;
    task->deadline = now + node_timeout_us(session, task->request);
    step_returning(session, task);
}

/* ---- an ACQUIRE that a majority granted ---------------------------------------------------------------------------
 */

/* A node that did not answer may yet write what it was asked. */
static bool may_grant_later(const struct redis_session *session, const struct task *task)
{
    for (size_t i = 0; i < session->node_count; i++)
        if (task->answers[i].asked && (task->answers[i].vote == VOTE_NONE || task->answers[i].uncertain))
            return true;
    return false;
}

static void grant(struct redis_session *session, struct task *task)
{
    task->request->info.fence = task->fence;
    task->request->stray = may_grant_later(session, task);
    finish(session, task, DLOCK_OK);
}

static void step_settling(struct redis_session *session, struct task *task, int64_t now)
{
    switch (quorum_judge_settled(task->answers, session->node_count, task->fence)) {
    case VERDICT_OPEN:
        return;
    case VERDICT_YES:
        grant(session, task);
        return;
    default:
        give_back(session, task, now);
    }
}

/* The fence is the one that was wanted if a majority has taken it, and the hold is granted at once. Else the largest
 * that a node proposed is told to a majority: the next majority has a node in common with this one, which knows it. */
static void settle(struct redis_session *session, struct task *task, int64_t now)
{
    task->fence = quorum_fence(task->answers, session->node_count);
    if (!spread(session)) {
        grant(session, task);
        return;
    }
    task->phase = PHASE_SETTLING;
    task->deadline = now + node_timeout_us(session, task->request);
    const bool known = quorum_judge_settled(task->answers, session->node_count, task->fence) == VERDICT_YES;
    for (size_t i = 0; i < session->node_count; i++) {
        struct answer *answer = &task->answers[i];
        const bool may_hold = answer->vote == VOTE_NONE ? !known : answer->holds;
        if (!answer->asked || !may_hold || quorum_has_fence(answer, task->fence))
            continue;
        if (!send_question(session, task, i, ASK_SETTLE) && answer->vote == VOTE_YES)
            fail_answer(task, answer, session->nodes[i].status, true, session->nodes[i].problem);
    }
    step_settling(session, task, now);
}

/* ---- decisions ----------------------------------------------------------------------------------------------------
 */

/* Nodes that have forgotten a hold, or never heard of its fence, learn of it while a majority has it. */
static void repair(struct redis_session *session, struct task *task)
{
    for (size_t i = 0; i < session->node_count; i++)
        if (task->answers[i].vote == VOTE_YES && task->answers[i].info.fence > task->fence) {
            task->fence = task->answers[i].info.fence;
            task->acquired_at_us = task->answers[i].acquired_at_us;
        }
    for (size_t i = 0; i < session->node_count && task->fence; i++)
        if (task->answers[i].vote == VOTE_ABSENT)
            task->request->stray |= send_question(session, task, i, ASK_REPAIR);
        else if (task->answers[i].vote == VOTE_YES && task->answers[i].info.fence == 0)
            send_question(session, task, i, ASK_SETTLE);
}

static void decide_acquire(struct redis_session *session, struct task *task, enum verdict verdict, int64_t now)
{
    wanted_learn(&session->wanted, task->answers, session->node_count, task->sent_at, task->fence);
    if (verdict == VERDICT_YES)
        settle(session, task, now);
    else
        give_back(session, task, now);
}

static void decide_hold(struct redis_session *session, struct task *task, enum verdict verdict)
{
    if (verdict == VERDICT_YES && task->request->operation == DLOCK_EXTEND)
        repair(session, task);
    finish(session, task,
           verdict == VERDICT_YES  ? DLOCK_OK
           : verdict == VERDICT_NO ? DLOCK_LOST
                                   : quorum_failure(task->answers, session->node_count));
}

static void decide_record(struct redis_session *session, struct task *task, enum verdict verdict)
{
    const bool breaks = task->request->operation == DLOCK_BREAK;
    if (verdict == VERDICT_YES)
        quorum_holder(task->answers, session->node_count, &task->request->info);
    finish(session, task,
           verdict == VERDICT_YES  ? DLOCK_OK
           : verdict == VERDICT_NO ? (breaks ? DLOCK_LOST : DLOCK_OK)
                                   : quorum_failure(task->answers, session->node_count));
}

/* Is it certain that none of it was done? */
static bool nothing_done(const struct redis_session *session, const struct task *task)
{
    for (size_t i = 0; i < session->node_count; i++)
        if (task->answers[i].vote != VOTE_FAILED || task->answers[i].uncertain)
            return false;
    return true;
}

static void step(struct redis_session *session, struct task *task, int64_t now)
{
    if (task->phase == PHASE_SETTLING)
        step_settling(session, task, now);
    else if (task->phase == PHASE_RETURNING)
        step_returning(session, task);
    if (task->phase != PHASE_ASKING)
        return;
    const dlock_operation operation = task->request->operation;
    const enum verdict verdict = quorum_judge(operation, task->answers, session->node_count);
    if (verdict == VERDICT_OPEN)
        return;
    if (operation != DLOCK_ACQUIRE)
        task->request->not_done = nothing_done(session, task);
    if (operation == DLOCK_ACQUIRE)
        decide_acquire(session, task, verdict, now);
    else if (operation == DLOCK_EXTEND || operation == DLOCK_RELEASE)
        decide_hold(session, task, verdict);
    else
        decide_record(session, task, verdict);
}

/* ---- replies ------------------------------------------------------------------------------------------------------
 */

/* Has the node been up for long enough to know of every hold that is not over? Redlock's "delayed restarts". */
static void guard(struct redis_session *session, struct task *task, struct node *node, struct answer *answer)
{
    const int64_t guard_us = session_guard_ms(session, task->request->ttl_ms) * 1000;
    if (guard_us == 0 || node->durable)
        return;
    char why[384];
    if (!node->uptime_known) {
        snprintf(
            why, sizeof why,
            "%s: it does not tell its uptime (INFO), so it may have forgotten holds; restart_guard_ms=0 allows that",
            node->address->name);
        fail_answer(task, answer, DLOCK_REFUSED, false, why);
        return;
    }
    const int64_t age = dlock_clock_us() - node->started_at, left = guard_us - age;
    if (left > 0) {
        snprintf(why, sizeof why,
                 "%s: it was restarted %" PRId64 " s ago and may have forgotten holds; it votes in %.1f s",
                 node->address->name, age / 1000000, (double)left / 1e6);
        fail_answer(task, answer, DLOCK_UNAVAILABLE, false, why);
    }
}

/* Asks once more what the node did not look at, unless it is of no use any more. */
static bool send_again(struct redis_session *session, struct task *task, size_t node, enum question question)
{
    if (question <= ASK_PROPOSE && task->phase != PHASE_ASKING && task->phase != PHASE_SETTLING)
        return false;
    return send_question(session, task, node, question);
}

static void take_answer(struct redis_session *session, struct task *task, struct node *node, const redisReply *reply)
{
    struct answer *answer = &task->answers[node - session->nodes];
    const bool told = answer->told;
    char text[200], why[384];
    if (answer_read(reply, question_of(session, task->request), answer, text, sizeof text)) {
        answer->told = told;
        if (task->request->operation == DLOCK_ACQUIRE && answer->vote == VOTE_YES)
            guard(session, task, node, answer);
        return;
    }
    answer->told = told;
    snprintf(why, sizeof why, "%s: %s", node->address->name, text);
    add_reason(task, why);
}

static void take_settled(struct task *task, struct answer *answer, const redisReply *reply)
{
    struct answer settled = {.vote = VOTE_NONE};
    char text[200];
    answer_read(reply, ASK_SETTLE, &settled, text, sizeof text);
    if (settled.vote == VOTE_YES)
        answer->settled = true;
    else if (answer->vote == VOTE_YES)
        fail_answer(task, answer, DLOCK_UNAVAILABLE, false, "the hold went away before its fence was known");
}

static void take_returned(struct answer *answer, const redisReply *reply)
{
    struct answer returned = {.vote = VOTE_NONE};
    char text[200];
    answer->returned = answer_read(reply, ASK_RETURN, &returned, text, sizeof text);
}

/* Is it a reply to this batch, not to an earlier one? */
static bool is_current(const struct redis_session *session, const struct expected *expected)
{
    return expected->what <= ASK_RETURN && expected->batch == session->batch;
}

static void take_reply(struct redis_session *session, struct node *node, struct asked asked, const redisReply *reply,
                       bool ask_again)
{
    struct task *task = &session->tasks[asked.task];
    struct answer *answer = &task->answers[node - session->nodes];
    if (task->phase == PHASE_DONE ||
        (ask_again && send_again(session, task, (size_t)(node - session->nodes), asked.question)))
        return;
    switch (asked.question) {
    case ASK_SETTLE:
        take_settled(task, answer, reply);
        break;
    case ASK_RETURN:
        take_returned(answer, reply);
        break;
    default:
        if (answer->vote != VOTE_NONE) /* it came too late to be counted */
            return;
        take_answer(session, task, node, reply);
    }
    step(session, task, dlock_clock_us());
}

static void replied(void *arg, struct node *node, const struct expected *expected, const redisReply *reply)
{
    struct redis_session *session = arg;
    if (!is_current(session, expected))
        return;
    struct outbox *outbox = &session->outboxes[node - session->nodes];
    const bool unknown = answer_is_noscript(reply), split = expected->count > 1 && answer_is_noperm(reply);
    outbox->eval |= unknown;
    outbox->alone |= split;
    for (size_t i = 0; i < expected->count; i++)
        take_reply(session, node, outbox->asked[expected->id + i], answer_part(reply, i, expected->count),
                   unknown || split);
}

static void fail_question(struct redis_session *session, struct node *node, struct asked asked, dlock_status status,
                          bool certain, const char *why)
{
    struct task *task = &session->tasks[asked.task];
    struct answer *answer = &task->answers[node - session->nodes];
    if (task->phase == PHASE_DONE)
        return;
    if (asked.question == ASK_RETURN)
        answer->told = false;
    if (answer->vote == VOTE_NONE || (asked.question == ASK_SETTLE && answer->vote == VOTE_YES))
        fail_answer(task, answer, status, answer->holds || !certain, why);
    step(session, task, dlock_clock_us());
}

static void failed(void *arg, struct node *node, const struct expected *expected, bool certain)
{
    struct redis_session *session = arg;
    const struct outbox *outbox = &session->outboxes[node - session->nodes];
    for (size_t i = 0; is_current(session, expected) && i < expected->count; i++)
        fail_question(session, node, outbox->asked[expected->id + i], node->status, certain, node->problem);
}

/* Puts into commands what a node is asked. False if something could not be sent, and failed. */
static bool send_to(struct redis_session *session, size_t index)
{
    struct node *node = &session->nodes[index];
    struct outbox *outbox = &session->outboxes[index];
    bool all = true;
    while (outbox->sent < outbox->count) {
        const size_t first = outbox->sent, count = count_shared(outbox);
        const bool open = node->state != NODE_CLOSED, queued = open && queue_call(session, index, count);
        outbox->sent += count;
        outbox->eval = false;
        all &= queued;
        for (size_t i = 0; !queued && i < count; i++)
            fail_question(session, node, outbox->asked[first + i], open ? DLOCK_NOMEM : node->status, true,
                          open ? "out of memory" : node->problem);
    }
    outbox->alone = false;
    return all;
}

/* The same of all nodes. What fails may decide requests, and lead to more that is asked. */
static bool send_out(struct redis_session *session)
{
    bool all = true;
    for (size_t i = 0; i < session->node_count; i++)
        all &= send_to(session, i);
    return all;
}

/* ---- the round ----------------------------------------------------------------------------------------------------
 */

/* Until when it is waited for answers: a connection that is made for the first time is worth more patience. */
static int64_t deadline_of(const struct redis_session *session, const struct task *task)
{
    if (task->phase == PHASE_DONE || task->phase == PHASE_WAITING)
        return INT64_MAX;
    int64_t deadline = task->deadline;
    for (size_t i = 0; i < session->node_count && task->phase == PHASE_ASKING; i++)
        if (task->answers[i].vote == VOTE_NONE && node_is_arriving(&session->nodes[i]) &&
            session->nodes[i].connect_until > deadline)
            deadline = session->nodes[i].connect_until;
    return deadline < task->last_deadline ? deadline : task->last_deadline;
}

static void time_out(struct redis_session *session, struct task *task, int64_t now)
{
    char why[256];
    if (task->phase == PHASE_RETURNING) {
        finish_denied(session, task);
        return;
    }
    for (size_t i = 0; i < session->node_count; i++) {
        struct answer *answer = &task->answers[i];
        const bool unsettled = task->phase == PHASE_SETTLING && answer->vote == VOTE_YES && !answer->settled;
        if (answer->vote != VOTE_NONE && !unsettled)
            continue;
        snprintf(why, sizeof why, "%s: no answer in time", session->nodes[i].address->name);
        fail_answer(task, answer, DLOCK_UNAVAILABLE, true, why);
    }
    step(session, task, now);
}

static bool make_room(struct redis_session *session, size_t count)
{
    if (!session->outboxes)
        session->outboxes = calloc(session->node_count, sizeof *session->outboxes);
    if (!session->outboxes)
        return false;
    if (count <= session->task_room)
        return true;
    struct task *tasks = realloc(session->tasks, count * sizeof *tasks);
    if (tasks)
        session->tasks = tasks;
    struct answer *answers = realloc(session->answers, count * session->node_count * sizeof *answers);
    if (answers)
        session->answers = answers;
    if (!tasks || !answers)
        return false;
    session->task_room = count;
    return true;
}

/* Is an earlier request of the same key not done? */
static bool has_to_wait(const struct redis_session *session, const struct task *task)
{
    for (const struct task *other = session->tasks; spread(session) && other < task; other++)
        if (other->phase != PHASE_DONE && other->key_hash == task->key_hash)
            return true;
    return false;
}

static void start(struct redis_session *session, struct task *task, int64_t now)
{
    task->phase = PHASE_ASKING;
    task->deadline = now + node_timeout_us(session, task->request);
    task->sent_at = now;
    if (spread(session) && task->request->operation == DLOCK_ACQUIRE)
        task->fence = wanted_next(&session->wanted, session->node_count, now);
    for (size_t i = 0; i < session->node_count; i++)
        ask_node(session, task, i);
    step(session, task, now);
}

static void start_what_can(struct redis_session *session)
{
    const int64_t now = dlock_clock_us();
    for (struct task *task = session->tasks; task < session->tasks + session->task_count; task++)
        if (task->phase == PHASE_WAITING && !has_to_wait(session, task))
            start(session, task, now);
}

static void start_and_send(struct redis_session *session)
{
    do
        start_what_can(session);
    while (!send_out(session));
}

static void begin(struct redis_session *session, dlock_request *const *requests, size_t count)
{
    const int64_t last_deadline = dlock_clock_us() + (int64_t)session->options->timeout_ms * 1000;
    session->batch++;
    session->task_count = session->open_tasks = count;
    for (size_t i = 0; i < session->node_count; i++)
        session->outboxes[i].count = session->outboxes[i].sent = 0;
    memset(session->answers, 0, count * session->node_count * sizeof *session->answers);
    for (size_t i = 0; i < count; i++)
        session->tasks[i] = (struct task){.request = requests[i],
                                          .key_hash = session_hash(requests[i]->key),
                                          .last_deadline = last_deadline,
                                          .answers = session->answers + i * session->node_count};
}

/* Waits for what comes next, or for the first deadline, and lets tasks run out of time. */
static void wait_once(struct redis_session *session, const struct node_listener *listener)
{
    int64_t until = INT64_MAX;
    for (size_t i = 0; i < session->task_count; i++) {
        const int64_t deadline = deadline_of(session, &session->tasks[i]);
        until = deadline < until ? deadline : until;
    }
    nodes_wait(session->nodes, session->node_count, listener, until);
    const int64_t now = dlock_clock_us();
    for (size_t i = 0; i < session->task_count && now >= until; i++)
        if (now >= deadline_of(session, &session->tasks[i]))
            time_out(session, &session->tasks[i], now);
}

bool round_proceed(void *memory, bool wait)
{
    struct redis_session *session = memory;
    const struct node_listener listener = {session, replied, failed};
    if (!wait) {
        if (spread(session))
            nodes_read(session->epoll, &listener);
        else
            node_read(session->nodes, &listener);
        start_and_send(session);
    }
    while (wait && session->open_tasks > 0) {
        wait_once(session, &listener);
        start_and_send(session);
    }
    nodes_flush(session->nodes, session->node_count, &listener);
    return session->open_tasks == 0;
}

void round_execute(void *memory, dlock_request *const *requests, size_t count)
{
    struct redis_session *session = memory;
    const struct node_listener listener = {session, replied, failed};
    if (!make_room(session, count)) {
        for (size_t i = 0; i < count; i++) {
            dlock_request_fail(requests[i], DLOCK_NOMEM, "out of memory");
            requests[i]->not_done = true;
        }
        return;
    }
    begin(session, requests, count);
    if (spread(session)) /* else a node that is slower would fall behind for good, and all depend on the others */
        nodes_catch_up(session->nodes, session->node_count, &listener, session->patience_us,
                       dlock_clock_us() + session->round_us);
    session_prepare(session, &listener);
    start_and_send(session);
    round_proceed(session, true);
    if (spread(session))
        session->round_us = dlock_clock_us() - session->tasks->sent_at;
}

/* Can all nodes that are there be asked without waiting? Then round_descriptor tells of their answers. */
static bool can_begin(struct redis_session *session)
{
    if (!spread(session))
        return node_descriptor(session->nodes) >= 0;
    if (session->epoll < 0)
        session->epoll = epoll_create1(EPOLL_CLOEXEC);
    return session->epoll >= 0 && !nodes_are_behind(session->nodes, session->node_count, session->patience_us) &&
           nodes_watch(session->nodes, session->node_count, session->epoll);
}

bool round_begin(void *memory, dlock_request *const *requests, size_t count)
{
    struct redis_session *session = memory;
    const struct node_listener listener = {session, replied, failed};
    if (!can_begin(session) || !make_room(session, count))
        return false;
    begin(session, requests, 0);
    session_prepare(session, &listener);
    if (!can_begin(session))
        return false;
    begin(session, requests, count);
    start_and_send(session);
    nodes_flush(session->nodes, session->node_count, &listener);
    return true;
}

int round_descriptor(void *memory)
{
    const struct redis_session *session = memory;
    return spread(session) ? session->epoll : node_descriptor(session->nodes);
}

void round_close(struct redis_session *session)
{
    for (size_t i = 0; session->outboxes && i < session->node_count; i++)
        free(session->outboxes[i].asked);
    if (session->epoll >= 0)
        close(session->epoll);
    free(session->outboxes);
    free(session->tasks);
    free(session->answers);
}
