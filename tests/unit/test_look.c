/* test_look.c - storages/look.c: who waits looks for the answer before sleeping, and when not. */
#include "look.h"

#include "support.h"

#include <pthread.h>
#include <stdatomic.h>

#define MOST_US 100

/* An answer that is there after so many looks. */
struct answer {
    unsigned looks, there_after;
};

static bool look_for(void *arg)
{
    struct answer *answer = arg;
    return answer->looks++ == answer->there_after;
}

/* How often it was looked for. Sets whether it was found. */
static unsigned wait_for_answer(struct look *look, unsigned there_after, bool *found)
{
    struct answer answer = {.there_after = there_after};
    *found = look_begin(look, look_for, &answer);
    look_end();
    return answer.looks;
}

static void an_answer_that_is_there_is_found(void **state)
{
    (void)state;
    struct look look = {.most_us = MOST_US, .in_vain = 5};
    bool found;
    assert_int_equal(wait_for_answer(&look, 0, &found), 1);
    assert_true(found);
    assert_int_equal(look.in_vain, 0);
}

/* It may not be found if others had the processor meanwhile. */
static void an_answer_that_comes_soon_is_found(void **state)
{
    (void)state;
    struct look look = {.most_us = MOST_US};
    bool found = false;
    wait_for((wait_for_answer(&look, 3, &found), look.in_vain = 0, found));
}

/* A server that is far away is hardly looked for, and looked for again when it is near. */
static void what_is_never_there_is_hardly_looked_for(void **state)
{
    (void)state;
    struct look look = {.most_us = MOST_US};
    bool found;
    unsigned times = 0;
    for (unsigned i = 1; i <= 256; i++) {
        times += wait_for_answer(&look, UINT32_MAX, &found) > 0;
        assert_false(found);
        assert_int_equal(look.in_vain, i);
    }
    assert_int_equal(times, 8 + 3); /* the first ones, and each 64th */
    for (times = 0; look.in_vain > 0; times++)
        wait_for_answer(&look, 0, &found);
    assert_in_range(times, 1, 64);
}

static void *wait_once(void *arg)
{
    struct look look = {.most_us = MOST_US};
    bool found;
    *(unsigned *)arg = wait_for_answer(&look, 0, &found);
    return NULL;
}

/* Their answers come together, and the processors are theirs. */
static void of_several_threads_none_looks(void **state)
{
    (void)state;
    struct look look = {.most_us = MOST_US};
    struct answer answer = {.there_after = UINT32_MAX};
    pthread_t thread;
    unsigned looks = UINT32_MAX;
    assert_false(look_begin(&look, look_for, &answer)); /* and sleeps */
    assert_int_equal(pthread_create(&thread, NULL, wait_once, &looks), 0);
    pthread_join(thread, NULL);
    assert_int_equal(looks, 0);
    look_end();
    wait_once(&looks);
    assert_int_equal(looks, 1);
}

static bool another_waits(void *arg)
{
    struct answer *answer = arg;
    if (answer->looks++ == 0)
        look_begin(&(struct look){.most_us = MOST_US}, look_for, &(struct answer){0});
    return false;
}

static void whoever_looks_stops_when_another_waits(void **state)
{
    (void)state;
    struct answer answer = {0};
    assert_false(look_begin(&(struct look){.most_us = MOST_US}, another_waits, &answer));
    look_end();
    look_end(); /* the other */
    assert_int_equal(answer.looks, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_answer_that_is_there_is_found),
        cmocka_unit_test(an_answer_that_comes_soon_is_found),
        cmocka_unit_test(what_is_never_there_is_hardly_looked_for),
        cmocka_unit_test(of_several_threads_none_looks),
        cmocka_unit_test(whoever_looks_stops_when_another_waits),
    };
    return cmocka_run_group_tests_name("look", tests, NULL, NULL);
}
