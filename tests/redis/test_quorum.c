/* test_quorum.c - what the answers of several nodes mean together: storages/redis/quorum.c.
 *
 * Rules are checked on every possible vector of answers of 1 to 7 nodes. The oracles here are written from what a
 * majority is (more than half), not from how quorum.c counts. */
#include "quorum.h"
#include "support.h"

#include <stdio.h>
#include <string.h>

#define NODES 7

static struct answer nothing(enum vote vote)
{
    return (struct answer){.vote = vote};
}

static struct answer held_by(enum vote vote, const char *owner, uint64_t fence, int64_t remaining_ms)
{
    struct answer answer = {.vote = vote, .info = {.fence = fence, .remaining_ms = remaining_ms}};
    strcpy(answer.info.owner, owner);
    return answer;
}

static bool more_than_half(size_t count, size_t nodes)
{
    return 2 * count > nodes;
}

static size_t count(const struct answer *answers, size_t nodes, enum vote vote)
{
    size_t found = 0;
    for (size_t i = 0; i < nodes; i++)
        if (answers[i].vote == vote)
            found++;
    return found;
}

/* Calls `check` for every vector of `nodes` answers out of `choices`. */
static void for_all(size_t nodes, const struct answer *choices, size_t choice_count,
                    void (*check)(dlock_operation operation, struct answer *answers, size_t nodes),
                    dlock_operation operation)
{
    unsigned which[NODES] = {0};
    struct answer answers[NODES];
    for (;;) {
        for (size_t i = 0; i < nodes; i++)
            answers[i] = choices[which[i]];
        check(operation, answers, nodes);
        size_t digit = 0;
        while (digit < nodes && ++which[digit] == choice_count)
            which[digit++] = 0;
        if (digit == nodes)
            return;
    }
}

static const struct answer *options_of(dlock_operation operation, size_t *ret)
{
    static struct answer of_acquire[6], of_hold[5], of_record[5];
    of_acquire[0] = nothing(VOTE_NONE);
    of_acquire[1] = nothing(VOTE_YES);
    of_acquire[2] = held_by(VOTE_OTHER, "a", 3, 100);
    of_acquire[3] = nothing(VOTE_FAILED);
    of_acquire[4] = nothing(VOTE_YES);
    of_acquire[4].held_before = true;
    of_acquire[5] = held_by(VOTE_OTHER, "b", 3, 100);
    for (int i = 0; i < 5; i++)
        of_hold[i] = nothing((enum vote)i);
    of_record[0] = nothing(VOTE_NONE);
    of_record[1] = held_by(VOTE_YES, "a", 3, 100);
    of_record[2] = held_by(VOTE_YES, "b", 4, 100);
    of_record[3] = nothing(VOTE_ABSENT);
    of_record[4] = nothing(VOTE_FAILED);
    *ret = operation == DLOCK_ACQUIRE ? 6 : 5;
    return operation == DLOCK_ACQUIRE                                ? of_acquire
           : operation == DLOCK_EXTEND || operation == DLOCK_RELEASE ? of_hold
                                                                     : of_record;
}

static void for_all_operations(size_t nodes_max,
                               void (*check)(dlock_operation operation, struct answer *answers, size_t nodes))
{
    for (dlock_operation operation = DLOCK_ACQUIRE; operation <= DLOCK_BREAK; operation++)
        for (size_t nodes = 1; nodes <= nodes_max; nodes++) {
            size_t choice_count;
            const struct answer *choices = options_of(operation, &choice_count);
            for_all(nodes, choices, choice_count, check, operation);
        }
}

static size_t most_of_one(const struct answer *answers, size_t nodes)
{
    size_t of_a = 0, of_b = 0;
    for (size_t i = 0; i < nodes; i++) {
        of_a += answers[i].info.owner[0] == 'a';
        of_b += answers[i].info.owner[0] == 'b';
    }
    return of_a > of_b ? of_a : of_b;
}

static void fail_on(const char *what, dlock_operation operation, const struct answer *answers, size_t nodes)
{
    char votes[NODES * 4 + 1] = "";
    for (size_t i = 0; i < nodes; i++)
        snprintf(votes + strlen(votes), sizeof votes - strlen(votes), "%d%s ", answers[i].vote, answers[i].info.owner);
    fail_msg("%s: operation %d, %zu nodes, votes %s", what, operation, nodes, votes);
}

/* ---- majorities ---------------------------------------------------------------------------------------------------
 */

static void two_majorities_have_a_node_in_common(void **state)
{
    (void)state;
    for (size_t nodes = 1; nodes <= 31; nodes++) {
        assert_true(2 * quorum_of(nodes) > nodes);
        assert_true(2 * (quorum_of(nodes) - 1) <= nodes);
    }
    assert_int_equal(quorum_of(1), 1);
    assert_int_equal(quorum_of(2), 2);
    assert_int_equal(quorum_of(3), 2);
    assert_int_equal(quorum_of(4), 3);
    assert_int_equal(quorum_of(5), 3);
    assert_int_equal(quorum_of(6), 4);
}

/* ---- verdicts -----------------------------------------------------------------------------------------------------
 */

/* What is decided stays so, whatever comes next: enough to look at one more answer, since that holds for the next. */
static void check_that_it_stands(dlock_operation operation, struct answer *answers, size_t nodes)
{
    const enum verdict verdict = quorum_judge(operation, answers, nodes);
    if (count(answers, nodes, VOTE_NONE) == 0 && verdict == VERDICT_OPEN)
        fail_on("nothing is out, and it is open", operation, answers, nodes);
    if (verdict == VERDICT_OPEN)
        return;
    size_t choice_count;
    const struct answer *choices = options_of(operation, &choice_count);
    for (size_t i = 0; i < nodes; i++) {
        const struct answer kept = answers[i];
        for (size_t which = 0; which < choice_count && kept.vote == VOTE_NONE; which++) {
            answers[i] = choices[which];
            if (quorum_judge(operation, answers, nodes) != verdict)
                fail_on("a verdict was revoked", operation, answers, nodes);
        }
        answers[i] = kept;
    }
}

static void a_verdict_is_never_revoked(void **state)
{
    (void)state;
    for_all_operations(6, check_that_it_stands);
}

static size_t count_held_before(const struct answer *answers, size_t nodes)
{
    size_t found = 0;
    for (size_t i = 0; i < nodes; i++)
        found += answers[i].held_before;
    return found;
}

static void check_acquire(dlock_operation operation, struct answer *answers, size_t nodes)
{
    const size_t yes = count(answers, nodes, VOTE_YES), open = count(answers, nodes, VOTE_NONE),
                 failed = count(answers, nodes, VOTE_FAILED), before = count_held_before(answers, nodes);
    const enum verdict verdict = quorum_judge(operation, answers, nodes);
    /* Whether it is the hold of before, with the fence of that, has to be certain as well. */
    const bool is_certain = before == 0 || more_than_half(before, nodes) || !more_than_half(before + open, nodes);
    if ((verdict == VERDICT_YES) != (more_than_half(yes, nodes) && is_certain))
        fail_on("granted if more than half say so, and only then", operation, answers, nodes);
    if (verdict == VERDICT_UNKNOWN)
        fail_on("an ACQUIRE is granted or not", operation, answers, nodes);
    if (verdict == VERDICT_YES)
        return;
    /* Whoever waits wants to know who is in the way, so this is waited for as long as it can be known. */
    const bool can_be_granted = more_than_half(yes + open, nodes),
               holder_known = more_than_half(most_of_one(answers, nodes), nodes),
               too_few = !more_than_half(nodes - failed, nodes);
    const bool denied = !can_be_granted && (open == 0 || holder_known || too_few);
    if ((verdict == VERDICT_NO) != denied)
        fail_on(denied ? "it could be denied" : "it cannot be denied yet", operation, answers, nodes);
}

static void an_acquire_needs_more_than_half(void **state)
{
    (void)state;
    for (size_t nodes = 1; nodes <= NODES; nodes++) {
        size_t choice_count;
        const struct answer *choices = options_of(DLOCK_ACQUIRE, &choice_count);
        for_all(nodes, choices, choice_count, check_acquire, DLOCK_ACQUIRE);
    }
}

/* What the answers say when none is out any more. A node that failed may have it or not. */
static enum verdict hold_at_the_end(size_t yes, size_t no, size_t nodes)
{
    const size_t failed = nodes - yes - no;
    if (more_than_half(yes, nodes))
        return VERDICT_YES;
    return more_than_half(yes + failed, nodes) ? VERDICT_UNKNOWN : VERDICT_NO;
}

static void check_hold(dlock_operation operation, struct answer *answers, size_t nodes)
{
    const size_t yes = count(answers, nodes, VOTE_YES), open = count(answers, nodes, VOTE_NONE),
                 no = count(answers, nodes, VOTE_ABSENT) + count(answers, nodes, VOTE_OTHER);
    bool possible[VERDICT_UNKNOWN + 1] = {false};
    for (size_t more_yes = 0; more_yes <= open; more_yes++)
        for (size_t more_no = 0; more_yes + more_no <= open; more_no++)
            possible[hold_at_the_end(yes + more_yes, no + more_no, nodes)] = true;
    const enum verdict certain = possible[VERDICT_YES] + possible[VERDICT_NO] + possible[VERDICT_UNKNOWN] > 1
                                     ? VERDICT_OPEN
                                 : possible[VERDICT_YES] ? VERDICT_YES
                                 : possible[VERDICT_NO]  ? VERDICT_NO
                                                         : VERDICT_UNKNOWN;
    if (quorum_judge(operation, answers, nodes) != certain)
        fail_on("decided when it is certain, neither sooner nor later", operation, answers, nodes);
}

static void extend_and_release_are_decided_when_it_is_certain(void **state)
{
    (void)state;
    for (dlock_operation operation = DLOCK_EXTEND; operation <= DLOCK_RELEASE; operation++)
        for (size_t nodes = 1; nodes <= NODES; nodes++) {
            size_t choice_count;
            const struct answer *choices = options_of(operation, &choice_count);
            for_all(nodes, choices, choice_count, check_hold, operation);
        }
}

/* Who keeps all others from a majority holds the key. What may be such a hold counts as one, unless too many failed to
 * say anything. */
static enum verdict record_at_the_end(size_t held, size_t failed, size_t nodes)
{
    if (!more_than_half(nodes - held, nodes))
        return VERDICT_YES;
    if (more_than_half(nodes - held - failed, nodes))
        return VERDICT_NO;
    return held > 0 && !more_than_half(failed, nodes) ? VERDICT_YES : VERDICT_UNKNOWN;
}

static void check_record(dlock_operation operation, struct answer *answers, size_t nodes)
{
    const size_t held = most_of_one(answers, nodes), open = count(answers, nodes, VOTE_NONE),
                 failed = count(answers, nodes, VOTE_FAILED);
    const enum verdict verdict = quorum_judge(operation, answers, nodes);
    if (open == 0 && verdict != record_at_the_end(held, failed, nodes))
        fail_on("the answers mean something else", operation, answers, nodes);
    bool possible[VERDICT_UNKNOWN + 1] = {false};
    for (size_t more_held = 0; more_held <= open; more_held++)
        for (size_t more_failed = 0; more_held + more_failed <= open; more_failed++)
            possible[record_at_the_end(held + more_held, failed + more_failed, nodes)] = true;
    if (!more_than_half(nodes - held, nodes) && verdict != VERDICT_YES)
        fail_on("the holder is certain", operation, answers, nodes);
    if (!possible[VERDICT_YES] && !possible[VERDICT_UNKNOWN] && verdict != VERDICT_NO)
        fail_on("nobody can hold it", operation, answers, nodes);
    if (!possible[VERDICT_YES] && !possible[VERDICT_NO] && verdict != VERDICT_UNKNOWN)
        fail_on("it cannot become known any more, and is waited for", operation, answers, nodes);
}

static void inspect_and_break_find_the_holder_of_a_majority(void **state)
{
    (void)state;
    for (dlock_operation operation = DLOCK_INSPECT; operation <= DLOCK_BREAK; operation++)
        for (size_t nodes = 1; nodes <= NODES; nodes++) {
            size_t choice_count;
            const struct answer *choices = options_of(operation, &choice_count);
            for_all(nodes, choices, choice_count, check_record, operation);
        }
}

/* Two owners that each got a yes from some nodes, each node giving its yes to one of them only. */
static void two_owners_are_never_granted_both(void **state)
{
    (void)state;
    for (size_t nodes = 1; nodes <= NODES; nodes++)
        for (unsigned to_first = 0; to_first < 1u << nodes; to_first++) {
            struct answer first[NODES], second[NODES];
            for (size_t i = 0; i < nodes; i++) {
                first[i] = nothing(to_first & 1u << i ? VOTE_YES : VOTE_OTHER);
                second[i] = nothing(to_first & 1u << i ? VOTE_OTHER : VOTE_YES);
            }
            for (dlock_operation operation = DLOCK_ACQUIRE; operation <= DLOCK_RELEASE; operation++)
                assert_false(quorum_judge(operation, first, nodes) == VERDICT_YES &&
                             quorum_judge(operation, second, nodes) == VERDICT_YES);
        }
}

/* ---- fences -------------------------------------------------------------------------------------------------------
 */

#define FENCE 9

static bool knows(const struct answer *answer)
{
    return answer->vote == VOTE_YES &&
           (answer->settled || ((answer->held_before || answer->accepted) && answer->info.fence == FENCE));
}

static void check_settled(dlock_operation operation, struct answer *answers, size_t nodes)
{
    size_t know = 0, may_learn = 0;
    for (size_t i = 0; i < nodes; i++) {
        know += knows(&answers[i]);
        may_learn += !knows(&answers[i]) && (answers[i].vote == VOTE_YES || answers[i].vote == VOTE_NONE);
    }
    const enum verdict expected = more_than_half(know, nodes)               ? VERDICT_YES
                                  : more_than_half(know + may_learn, nodes) ? VERDICT_OPEN
                                                                            : VERDICT_NO;
    if (quorum_judge_settled(answers, nodes, FENCE) != expected)
        fail_on("settled when more than half know the fence", operation, answers, nodes);
}

static void a_fence_is_settled_when_more_than_half_know_it(void **state)
{
    (void)state;
    struct answer choices[9] = {nothing(VOTE_NONE),
                                held_by(VOTE_YES, "", FENCE, 0),
                                held_by(VOTE_YES, "", FENCE, 0),
                                nothing(VOTE_FAILED),
                                nothing(VOTE_FAILED),
                                held_by(VOTE_YES, "", 4, 0),
                                held_by(VOTE_YES, "", 4, 0),
                                held_by(VOTE_YES, "", FENCE, 0),
                                held_by(VOTE_YES, "", 4, 0)};
    choices[2].held_before = true; /* without that, a fence is only proposed */
    choices[4].holds = true;       /* a node without a vote: it has the record all the same */
    choices[4].settled = true;
    choices[4].info.fence = FENCE;
    choices[5].settled = true;
    choices[6].held_before = true;
    choices[7].accepted = choices[8].accepted = true;
    for (size_t nodes = 1; nodes <= 5; nodes++)
        for_all(nodes, choices, 9, check_settled, DLOCK_ACQUIRE);
}

static void the_largest_fence_that_was_proposed_counts(void **state)
{
    (void)state;
    struct answer answers[] = {held_by(VOTE_YES, "", 5, 0), held_by(VOTE_FAILED, "", 9, 0), held_by(VOTE_YES, "", 7, 0),
                               held_by(VOTE_OTHER, "b", 8, 0), nothing(VOTE_NONE)};
    assert_int_equal(quorum_fence(answers, 5), 7);
    assert_int_equal(quorum_fence(answers, 2), 5);
    answers[0].info.fence = UINT64_MAX;
    assert_true(quorum_fence(answers, 5) == UINT64_MAX);
    assert_int_equal(quorum_fence(answers + 3, 2), 0);
}

/* What was wanted counts once a majority accepted it, though another node proposes more, and not before. */
static void the_fence_that_a_majority_accepted_counts(void **state)
{
    (void)state;
    struct answer answers[] = {held_by(VOTE_YES, "", 5, 0), held_by(VOTE_YES, "", 5, 0), held_by(VOTE_YES, "", 7, 0),
                               held_by(VOTE_FAILED, "", 5, 0), held_by(VOTE_YES, "", 5, 0)};
    for (int i = 0; i < 5; i++)
        answers[i].accepted = answers[i].info.fence == 5;
    assert_int_equal(quorum_fence(answers, 5), 5);
    assert_int_equal(quorum_fence(answers, 4), 7); /* two of four, and one of which it does not count */
    assert_int_equal(quorum_fence(answers, 3), 5);
}

/* A hold that a majority has keeps its fence, whatever nodes propose that did not know of it. */
static void a_hold_of_before_keeps_its_fence(void **state)
{
    (void)state;
    struct answer answers[] = {held_by(VOTE_YES, "", 5, 0), held_by(VOTE_YES, "", 9, 0), held_by(VOTE_YES, "", 5, 0)};
    answers[0].held_before = answers[2].held_before = true;
    assert_int_equal(quorum_fence(answers, 3), 5);
    answers[2].held_before = false; /* that of a minority is over */
    assert_int_equal(quorum_fence(answers, 3), 9);
}

/* ---- the holder ---------------------------------------------------------------------------------------------------
 */

static void the_holder_is_who_most_nodes_name(void **state)
{
    (void)state;
    dlock_info holder;
    struct answer answers[] = {held_by(VOTE_OTHER, "a", 5, 100), held_by(VOTE_OTHER, "b", 6, 100),
                               held_by(VOTE_YES, "b", 6, 100), nothing(VOTE_ABSENT), held_by(VOTE_FAILED, "a", 5, 1)};
    assert_int_equal(quorum_holder(answers, 5, &holder), 2);
    assert_string_equal(holder.owner, "b");
    assert_int_equal(holder.fence, 6);
    assert_int_equal(quorum_holder(answers + 3, 2, &holder), 0);
    assert_string_equal(holder.owner, "");
    assert_int_equal(quorum_holder(answers, 1, &holder), 1);
    assert_string_equal(holder.owner, "a");
}

/* A node that was granted the key without telling the record, as in an answer to ACQUIRE, names nobody. */
static void a_yes_without_an_owner_names_nobody(void **state)
{
    (void)state;
    dlock_info holder;
    const struct answer answers[] = {held_by(VOTE_YES, "", 5, 100), held_by(VOTE_YES, "", 5, 100),
                                     held_by(VOTE_OTHER, "b", 4, 100)};
    assert_int_equal(quorum_holder(answers, 3, &holder), 1);
    assert_string_equal(holder.owner, "b");
}

/* Any majority has a node that knows the fence; the last extension, which a majority has, is the longest. */
static void what_is_known_of_a_hold_is_the_latest(void **state)
{
    (void)state;
    dlock_info holder;
    struct answer answers[] = {held_by(VOTE_YES, "a", 0, 30), held_by(VOTE_YES, "a", 5, 70),
                               held_by(VOTE_OTHER, "a", 4, 50), held_by(VOTE_YES, "b", 9, 99),
                               held_by(VOTE_FAILED, "a", 8, 98)};
    answers[0].info.ttl_ms = 40;
    answers[1].info.ttl_ms = 80;
    assert_int_equal(quorum_holder(answers, 5, &holder), 3);
    assert_string_equal(holder.owner, "a");
    assert_int_equal(holder.fence, 5);
    assert_int_equal(holder.remaining_ms, 70);
    assert_int_equal(holder.ttl_ms, 80);
    assert_int_equal(quorum_holder(answers, 1, &holder), 1); /* not known yet */
    assert_int_equal(holder.fence, 0);
    assert_int_equal(holder.remaining_ms, 30);
}

/* ---- when there is no majority ------------------------------------------------------------------------------------
 */

static struct answer failed_by(dlock_status status)
{
    return (struct answer){.vote = VOTE_FAILED, .status = status};
}

static void a_failure_is_what_keeps_a_majority_away(void **state)
{
    (void)state;
    const struct {
        size_t nodes;
        struct answer answers[5];
        dlock_status expected;
    } cases[] = {
        {1, {failed_by(DLOCK_REFUSED)}, DLOCK_REFUSED},
        {1, {failed_by(DLOCK_UNAVAILABLE)}, DLOCK_UNAVAILABLE},
        {1, {failed_by(DLOCK_NOMEM)}, DLOCK_NOMEM},
        {3, {failed_by(DLOCK_REFUSED), failed_by(DLOCK_REFUSED), nothing(VOTE_YES)}, DLOCK_REFUSED},
        {3, {failed_by(DLOCK_REFUSED), failed_by(DLOCK_UNAVAILABLE), nothing(VOTE_YES)}, DLOCK_UNAVAILABLE},
        {3, {failed_by(DLOCK_UNAVAILABLE), failed_by(DLOCK_REFUSED), failed_by(DLOCK_REFUSED)}, DLOCK_REFUSED},
        /* Of four, two that refuse keep a majority away. */
        {4, {failed_by(DLOCK_REFUSED), failed_by(DLOCK_REFUSED), nothing(VOTE_YES), nothing(VOTE_YES)}, DLOCK_REFUSED},
        {5,
         {failed_by(DLOCK_REFUSED), failed_by(DLOCK_REFUSED), failed_by(DLOCK_UNAVAILABLE), nothing(VOTE_YES),
          nothing(VOTE_YES)},
         DLOCK_UNAVAILABLE},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_int_equal(quorum_failure(cases[i].answers, cases[i].nodes), cases[i].expected);
}

static void an_acquire_is_busy_if_a_majority_was_there(void **state)
{
    (void)state;
    const struct answer yes = nothing(VOTE_YES), other = held_by(VOTE_OTHER, "a", 1, 1),
                        gone = failed_by(DLOCK_UNAVAILABLE);
    assert_int_equal(quorum_denied((struct answer[]){other}, 1), DLOCK_BUSY);
    assert_int_equal(quorum_denied((struct answer[]){gone}, 1), DLOCK_UNAVAILABLE);
    assert_int_equal(quorum_denied((struct answer[]){yes, other, gone}, 3), DLOCK_BUSY);
    assert_int_equal(quorum_denied((struct answer[]){other, gone, gone}, 3), DLOCK_UNAVAILABLE);
    assert_int_equal(quorum_denied((struct answer[]){other, other, gone, gone}, 4), DLOCK_UNAVAILABLE);
    assert_int_equal(quorum_denied((struct answer[]){other, yes, other, gone}, 4), DLOCK_BUSY);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_majorities_have_a_node_in_common),
        cmocka_unit_test(a_verdict_is_never_revoked),
        cmocka_unit_test(an_acquire_needs_more_than_half),
        cmocka_unit_test(extend_and_release_are_decided_when_it_is_certain),
        cmocka_unit_test(inspect_and_break_find_the_holder_of_a_majority),
        cmocka_unit_test(two_owners_are_never_granted_both),
        cmocka_unit_test(a_fence_is_settled_when_more_than_half_know_it),
        cmocka_unit_test(the_largest_fence_that_was_proposed_counts),
        cmocka_unit_test(the_fence_that_a_majority_accepted_counts),
        cmocka_unit_test(a_hold_of_before_keeps_its_fence),
        cmocka_unit_test(the_holder_is_who_most_nodes_name),
        cmocka_unit_test(a_yes_without_an_owner_names_nobody),
        cmocka_unit_test(what_is_known_of_a_hold_is_the_latest),
        cmocka_unit_test(a_failure_is_what_keeps_a_majority_away),
        cmocka_unit_test(an_acquire_is_busy_if_a_majority_was_there),
    };
    return cmocka_run_group_tests_name("quorum", tests, NULL, NULL);
}
