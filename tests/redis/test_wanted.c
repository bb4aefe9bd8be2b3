/* test_wanted.c - which fence a client wants of several nodes: storages/redis/wanted.c. */
#include "support.h"
#include "wanted.h"

#define NODES 5
#define NOW   INT64_C(1000000) /* of the client's clock */
#define THERE INT64_C(1700000000000000)
#define LEAD  5000

/* Answers of nodes whose clocks are so many microseconds away from THERE; 1 = it tells none. */
static void answers_at(struct answer *ret, const int64_t *away)
{
    for (size_t i = 0; i < NODES; i++)
        ret[i] = (struct answer){.vote = VOTE_YES, .time_us = away[i] == 1 ? 0 : THERE + away[i]};
}

static void learn(struct wanted *wanted, const int64_t *away, int64_t sent_at, uint64_t fence)
{
    struct answer answers[NODES];
    answers_at(answers, away);
    wanted_learn(wanted, answers, NODES, sent_at, fence);
}

/* The first one from `least` on that no node proposes. */
static uint64_t for_clients(int64_t least)
{
    uint64_t fence = (uint64_t)least;
    while (fence % (NODES + 1) != NODES)
        fence++;
    return fence;
}

static void nothing_is_wanted_before_the_time_is_known(void **state)
{
    (void)state;
    struct wanted wanted = {0};
    assert_int_equal(wanted_next(&wanted, NODES, NOW), 0);
    learn(&wanted, (const int64_t[]){0, 0, 1, 1, 1}, NOW, 0); /* of too few nodes */
    assert_int_equal(wanted_next(&wanted, NODES, NOW), 0);
    learn(&wanted, (const int64_t[]){1, 0, 0, 1, 0}, NOW, 0);
    assert_int_equal(wanted_next(&wanted, NODES, NOW), for_clients(THERE + LEAD));
}

static void it_goes_with_the_time_and_never_back(void **state)
{
    (void)state;
    struct wanted wanted = {0};
    learn(&wanted, (const int64_t[]){0, 0, 0, 0, 0}, NOW, 0);
    const uint64_t first = wanted_next(&wanted, NODES, NOW);
    assert_int_equal(wanted_next(&wanted, NODES, NOW), first + NODES + 1);
    assert_int_equal(wanted_next(&wanted, NODES, NOW), first + 2 * (NODES + 1));
    assert_int_equal(wanted_next(&wanted, NODES, NOW + 700), for_clients(THERE + 700 + LEAD));
    learn(&wanted, (const int64_t[]){0, 0, 0, 0, 0}, NOW + 700, 0); /* the nodes' time is less than it was */
    assert_int_equal(wanted_next(&wanted, NODES, NOW + 700), for_clients(THERE + 700 + LEAD) + NODES + 1);
}

/* A minority whose clocks are wrong does not count. */
static void the_time_is_that_of_a_majority(void **state)
{
    (void)state;
    for (int at = 0; at < NODES; at++) {
        int64_t away[NODES] = {-30, 20, 10, 0, -40};
        away[at] = 3600000000;
        away[(at + 1) % NODES] = -3600000000;
        int64_t middle = INT64_MIN;
        for (int i = 0; i < NODES; i++) /* of the three that are left the second, since one is below all */
            for (int j = 0; j < NODES; j++)
                if (i != j && i != at && j != at && i != (at + 1) % NODES && j != (at + 1) % NODES &&
                    away[i] > away[j] && (middle == INT64_MIN || away[i] < middle))
                    middle = away[i];
        struct wanted wanted = {0};
        learn(&wanted, away, NOW, 0);
        assert_int_equal(wanted_next(&wanted, NODES, NOW), for_clients(THERE + middle + LEAD));
    }
}

/* A slow way makes nobody want more than others, unless it was too slow for what was wanted. */
static void the_shortest_way_counts_until_it_is_too_short(void **state)
{
    (void)state;
    const int64_t none[NODES] = {0};
    struct wanted wanted = {0};
    learn(&wanted, none, NOW - 300, 0);
    learn(&wanted, none, NOW - 100, 0);
    learn(&wanted, none, NOW - 200, 0);
    assert_int_equal(wanted_next(&wanted, NODES, NOW), for_clients(THERE + 100 + LEAD));
    learn(&wanted, none, NOW - 9000, THERE + 1); /* in time: another client was ahead */
    assert_int_equal(wanted_next(&wanted, NODES, NOW), for_clients(THERE + 100 + LEAD) + NODES + 1);
    learn(&wanted, none, NOW - 9000, THERE - 1);
    assert_int_equal(wanted_next(&wanted, NODES, NOW), for_clients(THERE + 9000 + LEAD));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_wanted_before_the_time_is_known),
        cmocka_unit_test(it_goes_with_the_time_and_never_back),
        cmocka_unit_test(the_time_is_that_of_a_majority),
        cmocka_unit_test(the_shortest_way_counts_until_it_is_too_short),
    };
    return cmocka_run_group_tests_name("wanted", tests, NULL, NULL);
}
