/* quorum.c - see quorum.h. */
#include "quorum.h"

#include <string.h>

size_t quorum_of(size_t nodes)
{
    return nodes / 2 + 1;
}

size_t quorum_count(const struct answer *answers, size_t nodes, enum vote vote)
{
    size_t count = 0;
    for (size_t i = 0; i < nodes; i++)
        count += answers[i].vote == vote;
    return count;
}

/* ---- the holder ---------------------------------------------------------------------------------------------------
 */

/* Does the node know of a record, and say what it is? */
static bool tells(const struct answer *answer)
{
    return (answer->vote == VOTE_YES || answer->vote == VOTE_OTHER) && answer->info.owner[0];
}

static size_t count_owner(const struct answer *answers, size_t nodes, const char *owner)
{
    size_t count = 0;
    for (size_t i = 0; i < nodes; i++)
        count += tells(&answers[i]) && strcmp(answers[i].info.owner, owner) == 0;
    return count;
}

/* What any majority of the nodes knows of the hold: of two majorities the later one has the larger numbers. */
static void take_latest(const struct answer *answers, size_t nodes, dlock_info *holder)
{
    for (size_t i = 0; i < nodes; i++) {
        const dlock_info *info = &answers[i].info;
        if (!tells(&answers[i]) || strcmp(info->owner, holder->owner) != 0)
            continue;
        if (info->fence > holder->fence)
            holder->fence = info->fence;
        if (info->remaining_ms > holder->remaining_ms) {
            holder->remaining_ms = info->remaining_ms;
            holder->ttl_ms = info->ttl_ms;
        }
    }
}

size_t quorum_holder(const struct answer *answers, size_t nodes, dlock_info *ret)
{
    size_t most = 0;
    *ret = (dlock_info){0};
    for (size_t i = 0; i < nodes && most < quorum_of(nodes); i++) {
        const size_t count = tells(&answers[i]) ? count_owner(answers, nodes, answers[i].info.owner) : 0;
        if (count > most) {
            most = count;
            *ret = answers[i].info;
        }
    }
    take_latest(answers, nodes, ret);
    return most;
}

/* ---- verdicts --------------------------------------------------------------------------------------------------- */

/* So many nodes keep everybody else from a majority. */
static size_t blocking(size_t nodes)
{
    return nodes - quorum_of(nodes) + 1;
}

/* Nodes on which the owner held the key already. */
static size_t count_held_before(const struct answer *answers, size_t nodes)
{
    size_t count = 0;
    for (size_t i = 0; i < nodes; i++)
        count += answers[i].vote == VOTE_YES && answers[i].held_before;
    return count;
}

/* A hold that a majority has already is the same one, with its fence; it is waited for the answers that tell. */
static bool is_told_from_new(const struct answer *answers, size_t nodes, size_t open)
{
    const size_t held = count_held_before(answers, nodes);
    return held == 0 || held >= quorum_of(nodes) || held + open < quorum_of(nodes);
}

/* It is not denied before a majority says who is in the way, as long as there are nodes that may say it. */
static enum verdict judge_acquire(const struct answer *answers, size_t nodes)
{
    const size_t yes = quorum_count(answers, nodes, VOTE_YES), open = quorum_count(answers, nodes, VOTE_NONE),
                 needed = quorum_of(nodes);
    if (yes >= needed)
        return is_told_from_new(answers, nodes, open) ? VERDICT_YES : VERDICT_OPEN;
    if (yes + open >= needed)
        return VERDICT_OPEN;
    dlock_info holder;
    if (open == 0 || quorum_holder(answers, nodes, &holder) >= needed)
        return VERDICT_NO;
    return quorum_count(answers, nodes, VOTE_FAILED) >= blocking(nodes) ? VERDICT_NO : VERDICT_OPEN;
}

/* EXTEND, RELEASE: only nodes that say no count as a no. */
static enum verdict judge_hold(const struct answer *answers, size_t nodes)
{
    const size_t yes = quorum_count(answers, nodes, VOTE_YES), open = quorum_count(answers, nodes, VOTE_NONE),
                 no = quorum_count(answers, nodes, VOTE_ABSENT) + quorum_count(answers, nodes, VOTE_OTHER),
                 to_deny = blocking(nodes);
    if (yes >= quorum_of(nodes))
        return VERDICT_YES;
    if (no >= to_deny)
        return VERDICT_NO;
    return yes + open < quorum_of(nodes) && no + open < to_deny ? VERDICT_UNKNOWN : VERDICT_OPEN;
}

/* Who blocks all others counts as the holder; also if that is known only together with nodes that did not answer. */
static enum verdict judge_record(const struct answer *answers, size_t nodes)
{
    dlock_info ignored;
    const size_t held = quorum_holder(answers, nodes, &ignored), open = quorum_count(answers, nodes, VOTE_NONE),
                 failed = quorum_count(answers, nodes, VOTE_FAILED);
    if (held >= blocking(nodes))
        return VERDICT_YES;
    if (held + open + failed < blocking(nodes))
        return VERDICT_NO;
    const bool can_be_no = held + failed < blocking(nodes), too_many_failed = failed >= quorum_of(nodes);
    if (open > 0 && (can_be_no || !too_many_failed || held + open >= blocking(nodes)))
        return VERDICT_OPEN;
    return held > 0 && !too_many_failed ? VERDICT_YES : VERDICT_UNKNOWN;
}

enum verdict quorum_judge(dlock_operation operation, const struct answer *answers, size_t nodes)
{
    switch (operation) {
    case DLOCK_ACQUIRE:
        return judge_acquire(answers, nodes);
    case DLOCK_EXTEND:
    case DLOCK_RELEASE:
        return judge_hold(answers, nodes);
    default:
        return judge_record(answers, nodes);
    }
}

bool quorum_has_fence(const struct answer *answer, uint64_t fence)
{
    return answer->vote == VOTE_YES &&
           (answer->settled || ((answer->held_before || answer->accepted) && answer->info.fence == fence));
}

enum verdict quorum_judge_settled(const struct answer *answers, size_t nodes, uint64_t fence)
{
    size_t settled = 0, open = 0;
    for (size_t i = 0; i < nodes; i++) {
        settled += quorum_has_fence(&answers[i], fence);
        open += (answers[i].vote == VOTE_YES || answers[i].vote == VOTE_NONE) && !quorum_has_fence(&answers[i], fence);
    }
    if (settled >= quorum_of(nodes))
        return VERDICT_YES;
    return settled + open < quorum_of(nodes) ? VERDICT_NO : VERDICT_OPEN;
}

/* The fence that was wanted, if a majority accepted it; else 0. */
static uint64_t accepted_fence(const struct answer *answers, size_t nodes)
{
    size_t count = 0;
    uint64_t fence = 0;
    for (size_t i = 0; i < nodes; i++)
        if (answers[i].vote == VOTE_YES && answers[i].accepted) {
            fence = answers[i].info.fence;
            count++;
        }
    return count >= quorum_of(nodes) ? fence : 0;
}

uint64_t quorum_fence(const struct answer *answers, size_t nodes)
{
    const uint64_t accepted = accepted_fence(answers, nodes);
    if (accepted)
        return accepted;
    const bool old = count_held_before(answers, nodes) >= quorum_of(nodes);
    uint64_t largest = 0;
    for (size_t i = 0; i < nodes; i++)
        if (answers[i].vote == VOTE_YES && (!old || answers[i].held_before) && answers[i].info.fence > largest)
            largest = answers[i].info.fence;
    return largest;
}

/* ---- when there is no majority ------------------------------------------------------------------------------------
 */

dlock_status quorum_failure(const struct answer *answers, size_t nodes)
{
    for (size_t i = 0; i < nodes; i++) {
        if (answers[i].vote != VOTE_FAILED || answers[i].status == DLOCK_UNAVAILABLE)
            continue;
        size_t same = 0;
        for (size_t j = 0; j < nodes; j++)
            same += answers[j].vote == VOTE_FAILED && answers[j].status == answers[i].status;
        if (same >= blocking(nodes))
            return answers[i].status;
    }
    return DLOCK_UNAVAILABLE;
}

dlock_status quorum_denied(const struct answer *answers, size_t nodes)
{
    const size_t asked = quorum_count(answers, nodes, VOTE_YES) + quorum_count(answers, nodes, VOTE_OTHER);
    return asked >= quorum_of(nodes) ? DLOCK_BUSY : quorum_failure(answers, nodes);
}
