/* test_session.c - what a session makes of answers and of their absence, over a storage of this file's own. Run by
 * `make check`. */
#include "session.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

/* Does what the test says; counts what is done with it. */
static struct {
    dlock_status open;
    dlock_status answers[2]; /* of the requests of a batch; INVALID = none is given */
    int opened, closed, executed;
} storage;

static dlock_status open_storage(void *session, const dlock_url *url, const dlock_storage_options *options,
                                 dlock_error *error)
{
    (void)session, (void)url, (void)options;
    storage.opened++;
    return storage.open == DLOCK_OK ? DLOCK_OK : dlock_error_set(error, storage.open, "the door is shut");
}

static void close_storage(void *session)
{
    (void)session;
    storage.closed++;
}

static void execute(void *session, dlock_request *const *requests, size_t count)
{
    (void)session;
    storage.executed++;
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(requests[i]->status, DLOCK_UNAVAILABLE);
        if (storage.answers[i] != DLOCK_INVALID)
            requests[i]->status = storage.answers[i];
    }
}

static const dlock_storage STORAGE = {.name = "test",
                                      .api = DLOCK_STORAGE_API,
                                      .session_size = 1,
                                      .open = open_storage,
                                      .close = close_storage,
                                      .execute = execute};
static struct session_counts counts;
static const struct session_source SOURCE = {.storage = &STORAGE, .counts = &counts};

static int set_up(void **state)
{
    (void)state;
    memset(&storage, 0, sizeof storage);
    counts = (struct session_counts){0};
    return 0;
}

/* Sends two requests that were used before, with old answers in them. */
static bool send_two(struct session *session, dlock_request requests[2])
{
    for (size_t i = 0; i < 2; i++)
        requests[i] = (dlock_request){
            .status = DLOCK_OK, .not_done = storage.open == DLOCK_OK, .info = {.fence = 7}, .message = "old"};
    return session_execute(session, (dlock_request *const[]){&requests[0], &requests[1]}, 2);
}

static void opened_once_for_many_requests(void **state)
{
    (void)state;
    struct session session = {.source = &SOURCE};
    dlock_request requests[2];
    storage.answers[1] = DLOCK_BUSY;
    for (int i = 0; i < 3; i++) {
        assert_true(send_two(&session, requests));
        assert_int_equal(requests[0].status, DLOCK_OK);
        assert_int_equal(requests[1].status, DLOCK_BUSY);
        assert_int_equal(requests[0].info.fence, 0);
        assert_string_equal(requests[0].message, "");
    }
    assert_int_equal(storage.opened, 1);
    assert_int_equal(storage.executed, 3);
    assert_int_equal(counts.batches, 3);
    assert_int_equal(counts.requests, 6);
    assert_int_equal(storage.closed, 0);
    session_close(&session);
    session_close(&session);
    assert_int_equal(storage.closed, 1);
}

static void a_request_that_is_not_answered_is_unavailable(void **state)
{
    (void)state;
    struct session session = {.source = &SOURCE};
    dlock_request requests[2];
    storage.answers[1] = DLOCK_INVALID;
    assert_false(send_two(&session, requests));
    assert_int_equal(requests[1].status, DLOCK_UNAVAILABLE);
    assert_false(requests[1].not_done);
    session_close(&session);
}

static void a_session_that_gave_no_answer_is_opened_anew(void **state)
{
    (void)state;
    struct session session = {.source = &SOURCE};
    dlock_request requests[2];
    storage.answers[0] = DLOCK_UNAVAILABLE;
    assert_false(send_two(&session, requests));
    assert_int_equal(storage.closed, 1);
    storage.answers[0] = DLOCK_OK;
    assert_true(send_two(&session, requests));
    assert_int_equal(storage.opened, 2);
    session_close(&session);
    assert_int_equal(storage.closed, 2);
}

static void what_could_not_be_sent_is_certainly_not_done(void **state)
{
    (void)state;
    static const dlock_status FAILURES[] = {DLOCK_UNAVAILABLE, DLOCK_REFUSED};
    for (size_t i = 0; i < 2; i++) {
        struct session session = {.source = &SOURCE};
        dlock_request requests[2];
        storage.open = FAILURES[i];
        assert_int_equal(send_two(&session, requests), FAILURES[i] != DLOCK_UNAVAILABLE);
        for (size_t j = 0; j < 2; j++) {
            assert_int_equal(requests[j].status, FAILURES[i]);
            assert_true(requests[j].not_done);
            assert_string_equal(requests[j].message, "the door is shut");
        }
        assert_int_equal(storage.closed, storage.opened);
    }
    assert_int_equal(storage.executed, 0);
    assert_int_equal(counts.requests, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(opened_once_for_many_requests, set_up),
        cmocka_unit_test_setup(a_request_that_is_not_answered_is_unavailable, set_up),
        cmocka_unit_test_setup(a_session_that_gave_no_answer_is_opened_anew, set_up),
        cmocka_unit_test_setup(what_could_not_be_sent_is_certainly_not_done, set_up),
    };
    return cmocka_run_group_tests_name("session", tests, NULL, NULL);
}
