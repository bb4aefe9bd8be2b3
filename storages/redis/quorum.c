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

/* It is not denied before a majority says who is in the way, as long as there are nodes that may say it. */
static enum verdict judge_acquire(const struct answer *answers, size_t nodes)
{
    const size_t yes = quorum_count(answers, nodes, VOTE_YES), open = quorum_count(answers, nodes, VOTE_NONE),
                 needed = quorum_of(nodes);
    if (yes >= needed)
        return VERDICT_YES;
    if (yes + open >= needed)
        return VERDICT_OPEN;
    if (open == 0 || quorum_count(answers, nodes, VOTE_OTHER) >= needed)
        return VERDICT_NO;
    return quorum_count(answers, nodes, VOTE_FAILED) > nodes - needed ? VERDICT_NO : VERDICT_OPEN;
}

/* EXTEND, RELEASE: only nodes that say no count as a no. */
static enum verdict judge_hold(const struct answer *answers, size_t nodes)
{
    const size_t yes = quorum_count(answers, nodes, VOTE_YES), open = quorum_count(answers, nodes, VOTE_NONE),
                 no = quorum_count(answers, nodes, VOTE_ABSENT) + quorum_count(answers, nodes, VOTE_OTHER),
                 to_deny = nodes - quorum_of(nodes) + 1;
    if (yes >= quorum_of(nodes))
        return VERDICT_YES;
    if (no >= to_deny)
        return VERDICT_NO;
    return yes + open < quorum_of(nodes) && no + open < to_deny ? VERDICT_UNKNOWN : VERDICT_OPEN;
}

static enum verdict judge_record(bool breaks, const struct answer *answers, size_t nodes)
{
    dlock_info ignored;
    const size_t held = quorum_holder(answers, nodes, &ignored), open = quorum_count(answers, nodes, VOTE_NONE),
                 failed = quorum_count(answers, nodes, VOTE_FAILED);
    if (held >= quorum_of(nodes))
        return VERDICT_YES;
    if (held + open + failed < quorum_of(nodes))
        return VERDICT_NO;
    if (open > 0)
        return VERDICT_OPEN;
    /* What is left on nodes that did not answer is too little to be a hold. */
    return breaks && held > 0 && failed < quorum_of(nodes) ? VERDICT_YES : VERDICT_UNKNOWN;
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
        return judge_record(operation == DLOCK_BREAK, answers, nodes);
    }
}

enum verdict quorum_judge_settled(const struct answer *answers, size_t nodes, uint64_t fence)
{
    size_t settled = 0, open = 0;
    for (size_t i = 0; i < nodes; i++) {
        const bool granted = answers[i].vote == VOTE_YES;
        settled += granted && (answers[i].settled || answers[i].info.fence == fence);
        open += (granted || answers[i].vote == VOTE_NONE) && !answers[i].settled && answers[i].info.fence != fence;
    }
    if (settled >= quorum_of(nodes))
        return VERDICT_YES;
    return settled + open < quorum_of(nodes) ? VERDICT_NO : VERDICT_OPEN;
}

uint64_t quorum_largest_fence(const struct answer *answers, size_t nodes)
{
    uint64_t largest = 0;
    for (size_t i = 0; i < nodes; i++)
        if (answers[i].vote == VOTE_YES && answers[i].info.fence > largest)
            largest = answers[i].info.fence;
    return largest;
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

/* The fence that most of the owner's nodes know; of several, the largest. */
static uint64_t common_fence(const struct answer *answers, size_t nodes, const char *owner)
{
    uint64_t best = 0;
    size_t most = 0;
    for (size_t i = 0; i < nodes; i++) {
        if (!tells(&answers[i]) || strcmp(answers[i].info.owner, owner) != 0)
            continue;
        const uint64_t fence = answers[i].info.fence;
        size_t count = 0;
        for (size_t j = 0; j < nodes; j++)
            count += tells(&answers[j]) && answers[j].info.fence == fence && strcmp(answers[j].info.owner, owner) == 0;
        if (count > most || (count == most && fence > best)) {
            most = count;
            best = fence;
        }
    }
    return best;
}

/* How many of the owner's nodes have at least so much time left? */
static size_t count_longer(const struct answer *answers, size_t nodes, const char *owner, int64_t remaining_ms)
{
    size_t count = 0;
    for (size_t i = 0; i < nodes; i++)
        count += tells(&answers[i]) && answers[i].info.remaining_ms >= remaining_ms &&
                 strcmp(answers[i].info.owner, owner) == 0;
    return count;
}

/* Others can get a majority when the owner has so few nodes left that it is in nobody's way. */
static int64_t remaining(const struct answer *answers, size_t nodes, const char *owner)
{
    const size_t in_the_way = nodes - quorum_of(nodes) + 1;
    int64_t longest = -1, least = INT64_MAX;
    for (size_t i = 0; i < nodes; i++) {
        if (!tells(&answers[i]) || strcmp(answers[i].info.owner, owner) != 0)
            continue;
        const int64_t left = answers[i].info.remaining_ms;
        if (left < 0)
            return -1;
        if (left > longest && count_longer(answers, nodes, owner, left) >= in_the_way)
            longest = left;
        if (left < least)
            least = left;
    }
    return longest >= 0 ? longest : least;
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
    if (most > 0) {
        ret->fence = common_fence(answers, nodes, ret->owner);
        ret->remaining_ms = remaining(answers, nodes, ret->owner);
    }
    return most;
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
        if (same > nodes - quorum_of(nodes))
            return answers[i].status;
    }
    return DLOCK_UNAVAILABLE;
}

dlock_status quorum_denied(const struct answer *answers, size_t nodes)
{
    const size_t asked = quorum_count(answers, nodes, VOTE_YES) + quorum_count(answers, nodes, VOTE_OTHER);
    return asked >= quorum_of(nodes) ? DLOCK_BUSY : quorum_failure(answers, nodes);
}
