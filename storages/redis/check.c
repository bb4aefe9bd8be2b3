/* check.c - `dlock check`: settings and circumstances of Redis nodes that weaken locks. */
#include "check.h"

#include "session.h"

#include <hiredis/hiredis.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OLDEST_MAJOR    6
#define OLDEST_MINOR    2 /* versions before it get no repairs any more */
#define CLOCKS_APART_US 500000
#define CLOCK_UNKNOWN   INT64_MIN
#define TIME_MAX_S      1000000000000 /* more is no time */

struct checking {
    struct redis_session *session;
    struct node *node;
    void (*warn)(void *arg, const char *text);
    void *arg;
    bool forgetful, answered; /* forgetful: keeps nothing on its disk */
    int64_t clock_us;         /* of the node minus ours; in the middle of the round trip */
    int64_t asked_at;
};

static void warn(const struct checking *checking, const char *format, ...) DLOCK_PRINTF(2, 3);
static void warn(const struct checking *checking, const char *format, ...)
{
    char text[DLOCK_MESSAGE_SIZE], what[DLOCK_MESSAGE_SIZE - 160];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(what, sizeof what, format, arguments);
    va_end(arguments);
    if (checking->node)
        snprintf(text, sizeof text, "%s: %s", checking->node->address->name, what);
    else
        snprintf(text, sizeof text, "%s", what);
    checking->warn(checking->arg, text);
}

/* The value of a line of INFO, as text that ends with the line. False if it is not there. */
static bool find_line(const char *info, const char *name, char *ret, size_t size)
{
    const size_t length = strlen(name);
    for (const char *line = info; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, name, length) == 0 && line[length] == ':') {
            snprintf(ret, size, "%.*s", (int)strcspn(line + length + 1, "\r\n"), line + length + 1);
            return true;
        }
    }
    return false;
}

static long line_number(const char *info, const char *name)
{
    char text[32];
    return find_line(info, name, text, sizeof text) ? strtol(text, NULL, 10) : 0;
}

enum server_age check_age(const char *info, char *version, size_t size)
{
    if (find_line(info, "valkey_version", version, size) || !find_line(info, "redis_version", version, size))
        return SERVER_CURRENT;
    char *end;
    const long major = strtol(version, &end, 10), minor = *end == '.' ? strtol(end + 1, NULL, 10) : 0;
    if (major < OLDEST_MAJOR)
        return SERVER_TOO_OLD;
    return major == OLDEST_MAJOR && minor < OLDEST_MINOR ? SERVER_OLD : SERVER_CURRENT;
}

static void check_version(const struct checking *checking, const char *info)
{
    char version[32];
    const enum server_age age = check_age(info, version, sizeof version);
    if (age == SERVER_TOO_OLD)
        warn(checking, "its version, %s, is too old: dlock needs Redis %d", version, OLDEST_MAJOR);
    else if (age == SERVER_OLD)
        warn(checking, "its version, %s, is old and gets no repairs any more", version);
}

static void check_replication(const struct checking *checking, const char *info)
{
    char role[16] = "", master[64];
    find_line(info, "role", role, sizeof role);
    const long replicas = line_number(info, "connected_slaves");
    if (strcmp(role, "slave") == 0)
        warn(checking, "it is a replica%s%s: it refuses writes, and locks need its primary",
             find_line(info, "master_host", master, sizeof master) ? " of " : "",
             find_line(info, "master_host", master, sizeof master) ? master : "");
    else if (replicas > 0)
        warn(checking,
             "it has %ld replica%s: replication is asynchronous, so if one is promoted it may lack the last holds, and "
             "a "
             "key can then have two holders for up to a ttl; fences still grow",
             replicas, replicas == 1 ? "" : "s");
    if (line_number(info, "cluster_enabled") == 1)
        warn(checking,
             "it is a node of a Redis Cluster, which keeps keys on many nodes; dlock needs one that keeps all");
}

static void read_info(void *arg, const redisReply *reply)
{
    struct checking *checking = arg;
    if (reply->type != REDIS_REPLY_STRING) {
        warn(checking, "it does not answer INFO, so it could not be checked: %s", reply->str ? reply->str : "");
        return;
    }
    const char *info = reply->str;
    char policy[32] = "noeviction";
    find_line(info, "maxmemory_policy", policy, sizeof policy);
    if (strcmp(policy, "noeviction") != 0)
        warn(checking,
             "maxmemory-policy is %s: when its memory is full, Redis may remove a lock that is held; set it "
             "to noeviction",
             policy);
    check_version(checking, info);
    check_replication(checking, info);
    checking->forgetful = line_number(info, "aof_enabled") != 1;
}

/* Is a schedule of snapshots set? They bring back a state of before, but that is more than nothing. */
static void read_save(void *arg, const redisReply *reply)
{
    struct checking *checking = arg;
    if (reply->type == REDIS_REPLY_ARRAY && reply->elements == 2 && reply->element[1]->type == REDIS_REPLY_STRING) {
        checking->forgetful &= reply->element[1]->str[0] == '\0';
    } else if (checking->forgetful) {
        checking->forgetful = false;
        if (checking->session->node_count > 1)
            warn(checking, "it does not answer CONFIG GET, so whether it keeps holds over a restart is not known: %s",
                 reply->str ? reply->str : "");
    }
}

static void read_time(void *arg, const redisReply *reply)
{
    struct checking *checking = arg;
    const int64_t now = dlock_clock_us();
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 2 || reply->element[0]->type != REDIS_REPLY_STRING ||
        reply->element[1]->type != REDIS_REPLY_STRING)
        return;
    const int64_t seconds = strtoll(reply->element[0]->str, NULL, 10), us = strtoll(reply->element[1]->str, NULL, 10);
    if (seconds >= 0 && seconds <= TIME_MAX_S && us >= 0 && us < 1000000)
        checking->clock_us = seconds * 1000000 + us - (checking->asked_at + now) / 2;
}

static bool ask(struct checking *checking, int count, const char *const *words,
                void (*read)(void *arg, const redisReply *reply))
{
    checking->asked_at = dlock_clock_us();
    const int64_t until = checking->asked_at + (int64_t)checking->session->options->timeout_ms * 1000;
    return session_ask(checking->session, checking->node, until, count, words, read, checking);
}

static void check_node(struct checking *checking)
{
    static const char *const info[] = {"INFO"}, *const save[] = {"CONFIG", "GET", "save"}, *const time[] = {"TIME"};
    checking->forgetful = false;
    checking->clock_us = CLOCK_UNKNOWN;
    checking->answered =
        ask(checking, 1, info, read_info) && ask(checking, 3, save, read_save) && ask(checking, 1, time, read_time);
    if (!checking->answered)
        checking->warn(checking->arg, checking->node->problem);
    else if (checking->forgetful && checking->session->node_count > 1)
        warn(checking,
             "it keeps nothing on its disk, so a restart makes it forget all holds; the restart guard keeps it "
             "from voting then for a ttl%s",
             session_guard_ms(checking->session, 1) == 0 ? ", but is off" : "");
}

static void check_quorum(const struct checking *checking)
{
    const size_t nodes = checking->session->node_count;
    if (nodes > 1 && nodes % 2 == 0)
        warn(checking, "%zu nodes survive the loss of %zu, which %zu would as well", nodes, (nodes - 1) / 2, nodes - 1);
    if (nodes > 1 && session_guard_ms(checking->session, 1) == 0)
        warn(checking, "the restart guard is off: a node that was restarted may let a second holder in");
}

dlock_status check_nodes(void *memory, void (*warning)(void *arg, const char *text), void *arg, dlock_error *error)
{
    struct redis_session *session = memory;
    struct checking checking = {.session = session, .warn = warning, .arg = arg};
    int64_t earliest = INT64_MAX, latest = INT64_MIN;
    const struct node *first = NULL, *last = NULL;
    size_t answered = 0;
    check_quorum(&checking);
    for (size_t i = 0; i < session->node_count; i++) {
        checking.node = &session->nodes[i];
        check_node(&checking);
        answered += checking.answered;
        if (checking.clock_us == CLOCK_UNKNOWN)
            continue;
        if (checking.clock_us < earliest) {
            earliest = checking.clock_us;
            first = checking.node;
        }
        if (checking.clock_us > latest) {
            latest = checking.clock_us;
            last = checking.node;
        }
    }
    checking.node = NULL;
    if (first && latest - earliest > CLOCKS_APART_US)
        warn(&checking,
             "the clocks of %s and %s are %.1f s apart: no lock depends on that, but fences do if a node loses its "
             "counter",
             first->address->name, last->address->name, (double)(latest - earliest) / 1e6);
    if (answered == 0)
        return dlock_error_set(error, session->nodes[0].status, "%s", session->nodes[0].problem);
    return DLOCK_OK;
}
