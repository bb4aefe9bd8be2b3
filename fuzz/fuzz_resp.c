/* fuzz_resp.c - fuzz target: what Redis servers answer, and what would pass for them.
 *
 * The first byte says what is done, the second how many nodes there are and what they still have to answer of their
 * greeting; the rest is what they send, 0xff between one node and the next, and then they hang up. Whatever it is,
 * every request gets one of its statuses, texts end, and nobody waits for what cannot come. */
#include "answers.h"
#include "quorum.h"
#include "session.h"

#include <hiredis/hiredis.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

const struct tls_functions *const stream_tls = NULL;

#define NODES       5
#define REQUESTS    8
#define REPLIES_MAX 64

/* ---- replies to questions -----------------------------------------------------------------------------------------
 */

static void check_answer(const struct answer *answer, enum question question, bool ok)
{
    REQUIRE(answer->asked);
    REQUIRE(answer->vote != VOTE_NONE);
    REQUIRE((answer->vote == VOTE_FAILED) == !ok);
    REQUIRE(!answer->told && !answer->returned && !answer->settled);
    REQUIRE(answer->holds == (ok && (question == ASK_ACQUIRE || question == ASK_PROPOSE) && answer->vote == VOTE_YES));
    REQUIRE_TEXT(answer->info.owner);
    REQUIRE(answer->info.ttl_ms <= DLOCK_TTL_MAX_MS);
    REQUIRE(answer->info.held_ms >= -1 && answer->info.remaining_ms >= -1);
    REQUIRE(answer->acquired_at_us >= 0);
    if (!ok)
        REQUIRE(answer->status == DLOCK_UNAVAILABLE || answer->status == DLOCK_REFUSED);
    if (ok && (question == ASK_INSPECT || question == ASK_BREAK))
        REQUIRE((answer->vote == VOTE_YES) == (answer->info.owner[0] != '\0'));
}

static void judge(const struct answer *answers, size_t nodes)
{
    dlock_info holder;
    for (dlock_operation operation = DLOCK_ACQUIRE; operation <= DLOCK_BREAK; operation++)
        REQUIRE(quorum_judge(operation, answers, nodes) != VERDICT_OPEN);
    quorum_judge_settled(answers, nodes, quorum_fence(answers, nodes));
    REQUIRE(quorum_holder(answers, nodes, &holder) <= nodes);
    REQUIRE_TEXT(holder.owner);
    quorum_denied(answers, nodes);
}

static void read_answers(const char *bytes, size_t size, size_t piece)
{
    struct answer answers[NODES];
    size_t count = 0;
    redisReader *reader = redisReaderCreate();
    REQUIRE(reader);
    for (size_t at = 0; at < size; at += piece) {
        void *object = NULL;
        if (redisReaderFeed(reader, bytes + at, size - at < piece ? size - at : piece) != REDIS_OK)
            break;
        while (redisReaderGetReply(reader, &object) == REDIS_OK && object) {
            for (enum question question = ASK_ACQUIRE; question <= ASK_RETURN; question++) {
                struct answer answer = {.asked = true, .told = true, .holds = true, .info.fence = 1};
                char why[200] = "";
                const bool ok = answer_read(object, question, &answer, why, sizeof why);
                REQUIRE_TEXT(why);
                check_answer(&answer, question, ok);
                answers[count++ % NODES] = answer;
            }
            if (answer_is_noscript(object))
                REQUIRE(((redisReply *)object)->type == REDIS_REPLY_ERROR);
            freeReplyObject(object);
            object = NULL;
        }
        if (reader->err)
            break;
    }
    redisReaderFree(reader);
    for (size_t nodes = 1; nodes <= count && nodes <= NODES; nodes++)
        judge(answers, nodes);
}

/* ---- a session whose nodes have said all that they will ever say --------------------------------------------------
 */

static const char *const keys[REQUESTS] = {"a", "b", "a", "c", "d", "d", "e", "a"};

static void warn(void *arg, const char *text)
{
    (void)arg;
    REQUIRE(text[0] && strlen(text) < DLOCK_MESSAGE_SIZE);
}

static bool show(void *arg, const char *key, const dlock_info *info)
{
    unsigned *count = arg;
    REQUIRE(key[0] && strlen(key) <= DLOCK_KEY_MAX);
    REQUIRE_TEXT(info->owner);
    REQUIRE(info->owner[0]);
    return ++*count < REPLIES_MAX;
}

static void hint(void *arg, const char *key)
{
    (void)arg;
    REQUIRE(key && (strcmp(key, "a") == 0 || strcmp(key, "b") == 0));
}

static void execute(struct redis_session *session)
{
    dlock_request requests[REQUESTS], *pointers[REQUESTS];
    make_requests(requests, pointers, keys, REQUESTS);
    round_execute(session, pointers, REQUESTS);
    REQUIRE(session->open_tasks == 0);
    for (unsigned i = 0; i < REQUESTS; i++) {
        const dlock_request *request = &requests[i];
        REQUIRE_TEXT(request->message);
        REQUIRE_TEXT(request->info.owner);
        REQUIRE(request->status == DLOCK_OK || request->status == DLOCK_UNAVAILABLE ||
                request->status == DLOCK_REFUSED ||
                (request->status == DLOCK_BUSY && request->operation == DLOCK_ACQUIRE) ||
                (request->status == DLOCK_LOST &&
                 (request->operation != DLOCK_ACQUIRE && request->operation != DLOCK_INSPECT)));
        if (request->status == DLOCK_UNAVAILABLE || request->status == DLOCK_REFUSED)
            REQUIRE(request->message[0]);
    }
}

static void watch(struct redis_session *session)
{
    dlock_error error;
    for (unsigned i = 0; i < 2; i++) {
        const dlock_status status = redis_watch(session, keys[i], &error);
        require_error(status, &error);
        if (!session->watch)
            return;
        require_error(redis_watch_read(session, hint, NULL, &error), &error);
    }
    redis_unwatch(session, keys[0]);
    require_error(redis_watch_read(session, hint, NULL, &error), &error);
}

/* A connection over which `bytes` have come, and then its end. What is sent over it is taken; the descriptor that
 * takes it is returned. */
static int open_node(struct node *node, const struct address *address, const uint8_t *bytes, size_t size,
                     unsigned greeting)
{
    int ends[2];
    node_init(node, address, greeting & 1);
    REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) == 0);
    REQUIRE(send(ends[1], bytes, size, MSG_NOSIGNAL) == (ssize_t)size);
    shutdown(ends[1], SHUT_WR);
    node->stream.socket = ends[0];
    node->stream.connected = node->stream.open = true;
    node->reader = redisReaderCreate();
    REQUIRE(node->reader);
    node->state = NODE_OPEN;
    static const char *const words[] = {"PING"};
    if (greeting & 1)
        node_queue_words(node, EXPECT_UPTIME, 1, words), node_queue_words(node, EXPECT_SYNC_POLICY, 1, words);
    if (greeting & 2)
        node_queue_words(node, EXPECT_GREETING, 1, words);
    return ends[1];
}

static void work(const uint8_t *bytes, size_t size, unsigned what, size_t nodes, unsigned greeting)
{
    int others[NODES];
    const dlock_storage_options options = {.timeout_ms = 1000};
    struct redis_session session = {.options = &options};
    session.settings = (struct settings){
        .count = nodes, .prefix = "p", .connect_timeout_ms = 100, .guard_ms = greeting & 4 ? 0 : GUARD_DEFAULT};
    session.nodes = calloc(nodes, sizeof *session.nodes);
    REQUIRE(session.nodes);
    session.node_count = nodes;
    for (size_t i = 0; i < nodes; i++) {
        struct address *address = &session.settings.addresses[i];
        *address = (struct address){.name = "node", .path = "/nowhere/to/be.found"};
        const uint8_t *end = memchr(bytes, 0xff, size);
        const size_t part = i + 1 < nodes && end ? (size_t)(end - bytes) : size;
        others[i] = open_node(&session.nodes[i], address, bytes, part, greeting);
        bytes += part + (part < size);
        size -= part + (part < size);
    }
    dlock_error error;
    unsigned shown = 0;
    switch (what) {
    case 0:
        execute(&session);
        execute(&session);
        break;
    case 1:
        require_error(list_keys(&session, "", show, &shown, &error), &error);
        break;
    case 2:
        require_error(check_nodes(&session, warn, NULL, &error), &error);
        break;
    default:
        watch(&session);
    }
    redis_watch_close(&session);
    for (size_t i = 0; i < nodes; i++) {
        node_close(&session.nodes[i]);
        close(others[i]);
    }
    free(session.nodes);
    round_close(&session);
}

/* hiredis allocates what an array's head promises. Promises of megabytes are of no interest here. */
static bool promises_much(const uint8_t *data, size_t size)
{
    for (size_t i = 0, digits = 0; i < size; i++) {
        if (data[i] >= '0' && data[i] <= '9' && digits > 0 && ++digits > 6)
            return true;
        if (data[i] == '*')
            digits = 1;
        else if (data[i] < '0' || data[i] > '9')
            digits = 0;
    }
    return false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2 || promises_much(data, size))
        return 0;
    if (data[0] % 5 == 4)
        read_answers((const char *)data + 2, size - 2, (size_t)data[1] + 1);
    else
        work(data + 2, size - 2, data[0] % 5, data[1] / 8 % NODES + 1, data[1] % 8);
    return 0;
}
