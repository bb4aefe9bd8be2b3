/* test_line.c - lines of waiters: who is first, and who becomes first. Run by `make check`. */
#include "line.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

static void leave(struct lines *lines, struct place *place, const struct place *wanted)
{
    struct line *line = place->line;
    assert_ptr_equal(line_leave(place), wanted);
    assert_null(place->line);
    line_discard(lines, line);
}

static void first_come_is_first_served(void **state)
{
    (void)state;
    struct lines lines = {0};
    struct place places[3];
    assert_null(line_first(&lines, "key"));
    for (size_t i = 0; i < 3; i++) {
        assert_true(line_join(&lines, &places[i], "key"));
        assert_ptr_equal(places[i].before, i ? &places[i - 1] : NULL);
        assert_ptr_equal(line_first(&lines, "key"), &places[0]);
    }
    leave(&lines, &places[0], &places[1]);
    leave(&lines, &places[1], &places[2]);
    leave(&lines, &places[2], NULL);
    assert_null(line_first(&lines, "key"));
    assert_int_equal(lines.count, 0);
    lines_deinit(&lines);
}

static void who_leaves_from_behind_makes_nobody_first(void **state)
{
    (void)state;
    struct lines lines = {0};
    struct place places[4];
    for (size_t i = 0; i < 4; i++)
        assert_true(line_join(&lines, &places[i], "key"));
    leave(&lines, &places[1], NULL);
    leave(&lines, &places[3], NULL);
    assert_true(line_join(&lines, &places[1], "key"));
    leave(&lines, &places[0], &places[2]);
    leave(&lines, &places[2], &places[1]);
    leave(&lines, &places[1], NULL);
    lines_deinit(&lines);
}

static void keys_have_lines_of_their_own(void **state)
{
    enum { N = 200 };
    (void)state;
    struct lines lines = {0};
    struct place places[N];
    char keys[N][8];
    for (size_t i = 0; i < N; i++) {
        snprintf(keys[i], sizeof keys[i], "k%zu", i);
        assert_true(line_join(&lines, &places[i], keys[i]));
        assert_null(places[i].before);
    }
    assert_int_equal(lines.count, N);
    for (size_t i = 0; i < N; i++)
        assert_ptr_equal(line_first(&lines, keys[i]), &places[i]);
    for (size_t i = 0; i < N; i++)
        leave(&lines, &places[i], NULL);
    assert_int_equal(lines.count, 0);
    lines_deinit(&lines);
}

static void an_empty_line_stays_while_somebody_watches_it(void **state)
{
    (void)state;
    struct lines lines = {0};
    struct place place;
    assert_true(line_join(&lines, &place, "key"));
    struct line *line = place.line;
    line_discard(&lines, line); /* not with a waiter in it */
    assert_ptr_equal(line_first(&lines, "key"), &place);
    line->watched = true;
    leave(&lines, &place, NULL);
    assert_int_equal(lines.count, 1);
    assert_true(line_join(&lines, &place, "key"));
    assert_ptr_equal(place.line, line);
    leave(&lines, &place, NULL);
    line->watched = false;
    line->queued = true;
    line_discard(&lines, line);
    assert_int_equal(lines.count, 1);
    line->queued = false;
    line_discard(&lines, line);
    assert_int_equal(lines.count, 0);
    lines_deinit(&lines);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(first_come_is_first_served),
        cmocka_unit_test(who_leaves_from_behind_makes_nobody_first),
        cmocka_unit_test(keys_have_lines_of_their_own),
        cmocka_unit_test(an_empty_line_stays_while_somebody_watches_it),
    };
    return cmocka_run_group_tests_name("line", tests, NULL, NULL);
}
