/* answer.c - see answer.h. Commands are formatted by hiredis, and replies were parsed by it. */
#include "answer.h"

#include "lock_script.h"
#include "settings.h"

#include <ctype.h>
#include <errno.h>
#include <hiredis/hiredis.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAME_SIZE   (PREFIX_MAX + 1 + DLOCK_KEY_MAX + 1)
#define NUMBER_SIZE 24

static const char *const NAMES[] = {[ASK_ACQUIRE] = "acquire", [ASK_EXTEND] = "extend", [ASK_RELEASE] = "release",
                                    [ASK_INSPECT] = "inspect", [ASK_BREAK] = "break",   [ASK_PROPOSE] = "propose",
                                    [ASK_SETTLE] = "settle",   [ASK_REPAIR] = "repair", [ASK_RETURN] = "release"};

/* Writes a decimal number; snprintf takes ten times as long, and every request has some. */
static const char *write_number(char *ret, uint64_t number)
{
    char digits[NUMBER_SIZE], *first = digits + sizeof digits - 1;
    *first = '\0';
    do
        *--first = (char)('0' + number % 10);
    while (number /= 10);
    return strcpy(ret, first);
}

/* The words of a command; `numbers` holds those of them that are made here. */
struct words {
    const char *words[11];
    size_t sizes[11];
    int count;
    char numbers[4][NUMBER_SIZE];
    int number_count;
};

static void add_word(struct words *words, const char *word)
{
    words->words[words->count] = word;
    words->sizes[words->count++] = strlen(word);
}

static void add_number(struct words *words, uint64_t number)
{
    add_word(words, write_number(words->numbers[words->number_count++], number));
}

/* Writes a key's name at `at`; returns where the next one goes. */
static char *write_name(char *at, const char *prefix, const char *separator, const char *text)
{
    return stpcpy(stpcpy(stpcpy(at, prefix), separator), text) + 1;
}

bool answer_may_share(enum question question)
{
    return question == ASK_ACQUIRE || question == ASK_EXTEND || question == ASK_RELEASE || question == ASK_RETURN;
}

static bool has_ttl(enum question question)
{
    return question == ASK_ACQUIRE || question == ASK_EXTEND;
}

/* KEYS: the first one's key, the counter, the other keys. ARGV: operation, owner and ttl of each. */
long long answer_shared_command(char **ret, const char *prefix, const enum question *questions,
                                const dlock_request *const *requests, size_t count, bool eval)
{
    const char *words[4 + 4 * ANSWER_SHARED_MAX];
    char names[(ANSWER_SHARED_MAX + 1) * NAME_SIZE], numbers[ANSWER_SHARED_MAX + 1][NUMBER_SIZE];
    words[0] = eval ? "EVAL" : "EVALSHA";
    words[1] = eval ? LOCK_SCRIPT : LOCK_SCRIPT_SHA1;
    words[2] = write_number(numbers[count], count + 1);
    words[4] = names;
    char *name = write_name(names, prefix, "#", "fence");
    for (size_t i = 0; i < count; i++) {
        words[i == 0 ? 3 : 4 + i] = name;
        name = write_name(name, prefix, ":", requests[i]->key);
        const char **at = words + 4 + count + 3 * i;
        at[0] = NAMES[questions[i]];
        at[1] = requests[i]->owner;
        at[2] = has_ttl(questions[i]) ? write_number(numbers[i], requests[i]->ttl_ms) : "";
    }
    const size_t needless = has_ttl(questions[count - 1]) ? 0 : 1;
    return redisFormatSdsCommandArgv(ret, (int)(4 + 4 * count - needless), words, NULL);
}

long long answer_command(char **ret, enum question question, const char *prefix, const dlock_request *request,
                         const struct details *details, bool eval)
{
    if (answer_may_share(question))
        return answer_shared_command(ret, prefix, &question, &request, 1, eval);
    char key[NAME_SIZE], counter[NAME_SIZE];
    struct words words = {.count = 0};
    write_name(key, prefix, ":", request->key);
    write_name(counter, prefix, "#", "fence");
    add_word(&words, eval ? "EVAL" : "EVALSHA");
    add_word(&words, eval ? LOCK_SCRIPT : LOCK_SCRIPT_SHA1);
    add_word(&words, "2");
    add_word(&words, key);
    add_word(&words, counter);
    add_word(&words, NAMES[question]);
    add_word(&words, request->owner ? request->owner : "");
    switch (question) {
    case ASK_PROPOSE:
        add_number(&words, request->ttl_ms);
        add_number(&words, details->nodes);
        add_number(&words, details->node);
        add_number(&words, details->fence);
        break;
    case ASK_REPAIR:
        add_number(&words, request->ttl_ms);
        add_number(&words, details->fence);
        add_number(&words, (uint64_t)details->acquired_at_us);
        break;
    case ASK_SETTLE:
        add_number(&words, details->fence);
        break;
    default:
        break;
    }
    return redisFormatSdsCommandArgv(ret, words.count, words.words, words.sizes);
}

void answer_free_command(char *command)
{
    redisFreeSdsCommand(command);
}

/* ---- errors -------------------------------------------------------------------------------------------------------
 */

/* Errors that end by themselves, or after a reconnection: a node that starts, was demoted, is full, is busy. */
static const char *const PASSING[] = {
    "LOADING",    "MASTERDOWN",           "READONLY", "OOM", "BUSY", "MISCONF", "NOREPLICAS", "CLUSTERDOWN", "TRYAGAIN",
    "UNKILLABLE", "max number of clients"};

static bool has_word(const char *text, size_t length, const char *word)
{
    const size_t size = strlen(word);
    for (const char *at = text; (at = memmem(at, length - (size_t)(at - text), word, size)); at++) {
        const char before = at > text ? at[-1] : ' ', behind = at[size];
        if (!isalnum((unsigned char)before) && !isalnum((unsigned char)behind))
            return true;
    }
    return false;
}

dlock_status answer_classify(const char *error, char *shown, size_t size)
{
    /* A command that a node does not know is quoted with its arguments, which may be a password. */
    const char *end = strstr(error, ", with args");
    const size_t length = end ? (size_t)(end - error) : strlen(error), first = strcspn(error, " ");
    snprintf(shown, size, "%.*s", (int)(length < size ? length : size - 1), error);
    /* The first word is the code, but errors inside of a script come with words before it in some versions. */
    const size_t searched = strncmp(error, "ERR ", 4) == 0 ? length : first;
    for (size_t i = 0; i < sizeof PASSING / sizeof PASSING[0]; i++)
        if (has_word(error, searched, PASSING[i]))
            return DLOCK_UNAVAILABLE;
    return DLOCK_REFUSED;
}

bool answer_is_noperm(const redisReply *reply)
{
    return reply->type == REDIS_REPLY_ERROR && strncmp(reply->str, "NOPERM", 6) == 0;
}

bool answer_is_noscript(const redisReply *reply)
{
    return reply->type == REDIS_REPLY_ERROR && strncmp(reply->str, "NOSCRIPT", 8) == 0;
}

/* ---- replies ------------------------------------------------------------------------------------------------------
 */

static bool read_number(const char *text, uint64_t *ret)
{
    char *end;
    errno = 0;
    *ret = strtoull(text, &end, 10);
    return text[0] >= '0' && text[0] <= '9' && *end == '\0' && errno == 0;
}

/* Takes the last word, a number, off `text`. */
static bool take_number(char *text, uint64_t *ret)
{
    char *space = strrchr(text, ' ');
    if (!space || !read_number(space + 1, ret))
        return false;
    *space = '\0';
    return true;
}

/* What a value says: see lock.lua. One that is not ours is all owner. */
static void read_value(const char *value, int64_t now_us, dlock_info *info)
{
    char owner[DLOCK_OWNER_SIZE + 64];
    uint64_t acquired, ttl, fence;
    info->held_ms = -1;
    const bool whole = snprintf(owner, sizeof owner, "%s", value) < (int)sizeof owner;
    if (whole && take_number(owner, &acquired) && take_number(owner, &ttl) && take_number(owner, &fence) && owner[0] &&
        ttl <= DLOCK_TTL_MAX_MS) {
        info->fence = fence;
        info->ttl_ms = (uint32_t)ttl;
        info->held_ms = (uint64_t)now_us > acquired ? (now_us - (int64_t)acquired) / 1000 : 0;
        snprintf(info->owner, sizeof info->owner, "%.*s", DLOCK_OWNER_SIZE - 1, owner);
    } else {
        snprintf(info->owner, sizeof info->owner, "%.*s", DLOCK_OWNER_SIZE - 1, value[0] ? value : "?");
    }
}

static const redisReply *element(const redisReply *reply, size_t i, int type)
{
    return reply->elements > i && reply->element[i]->type == type ? reply->element[i] : NULL;
}

static bool read_time(const redisReply *reply, size_t i, int64_t *ret)
{
    const redisReply *time = element(reply, i, REDIS_REPLY_STRING);
    uint64_t number;
    if (!time || !read_number(time->str, &number) || number > INT64_MAX)
        return false;
    *ret = (int64_t)number;
    return true;
}

/* {0, value, time left in ms, the node's time in us} */
static bool read_description(const redisReply *reply, struct answer *ret)
{
    dlock_info *info = &ret->info;
    const redisReply *value = element(reply, 1, REDIS_REPLY_STRING), *left = element(reply, 2, REDIS_REPLY_INTEGER);
    if (!value || !left || !read_time(reply, 3, &ret->time_us))
        return false;
    read_value(value->str, ret->time_us, info);
    info->remaining_ms = left->integer < 0 ? -1 : left->integer;
    return true;
}

const redisReply *answer_part(const redisReply *reply, size_t i, size_t count)
{
    static const redisReply none = {.type = REDIS_REPLY_NIL};
    if (count == 1 || reply->type == REDIS_REPLY_ERROR)
        return reply;
    return reply->type == REDIS_REPLY_ARRAY && reply->elements == count ? reply->element[i] : &none;
}

/* The fence, or {1, fence, 1 if it was held before}, or a description; of a proposal, which may be 2 = accepted, with
 * the node's time */
static bool read_acquire(const redisReply *reply, enum question question, long long code, struct answer *ret)
{
    if (reply->type == REDIS_REPLY_STRING) {
        ret->vote = VOTE_YES;
        ret->holds = true;
        return read_number(reply->str, &ret->info.fence);
    }
    if (code == 0) {
        ret->vote = VOTE_OTHER;
        return read_description(reply, ret);
    }
    const redisReply *fence = element(reply, 1, REDIS_REPLY_STRING), *how = element(reply, 2, REDIS_REPLY_INTEGER);
    ret->vote = VOTE_YES;
    ret->holds = true;
    ret->held_before = how && how->integer == 1;
    ret->accepted = how && how->integer == 2;
    return code == 1 && how && fence && read_number(fence->str, &ret->info.fence) &&
           (question != ASK_PROPOSE || read_time(reply, 3, &ret->time_us));
}

/* 0 nothing there, 2 of somebody else, {1, fence, time of the acquire} */
static bool read_extend(const redisReply *reply, long long code, struct answer *ret)
{
    if (code != 1) {
        ret->vote = code == 0 ? VOTE_ABSENT : VOTE_OTHER;
        return code == 0 || code == 2;
    }
    const redisReply *fence = element(reply, 1, REDIS_REPLY_STRING), *at = element(reply, 2, REDIS_REPLY_STRING);
    uint64_t acquired = 0;
    ret->vote = VOTE_YES;
    const bool ok = fence && at && read_number(fence->str, &ret->info.fence) && read_number(at->str, &acquired) &&
                    acquired <= INT64_MAX;
    ret->acquired_at_us = (int64_t)acquired;
    return ok;
}

/* A reply begins with a code, or is one. */
static bool read_code(const redisReply *reply, long long *ret)
{
    const redisReply *code = reply->type == REDIS_REPLY_ARRAY ? element(reply, 0, REDIS_REPLY_INTEGER) : reply;
    if (!code || code->type != REDIS_REPLY_INTEGER)
        return false;
    *ret = code->integer;
    return true;
}

static bool read_reply(const redisReply *reply, enum question question, struct answer *ret)
{
    long long code = 1;
    if (!read_code(reply, &code) && !(question == ASK_ACQUIRE && reply->type == REDIS_REPLY_STRING))
        return false;
    switch (question) {
    case ASK_ACQUIRE:
    case ASK_PROPOSE:
        return read_acquire(reply, question, code, ret);
    case ASK_EXTEND:
        return read_extend(reply, code, ret);
    case ASK_RELEASE:
    case ASK_SETTLE:
    case ASK_REPAIR:
    case ASK_RETURN:
        ret->vote = code == 1 ? VOTE_YES : VOTE_ABSENT;
        return code == 0 || code == 1;
    case ASK_INSPECT:
    case ASK_BREAK:
        ret->vote = code == 0 ? VOTE_YES : VOTE_ABSENT;
        return code == 1 || (code == 0 && read_description(reply, ret));
    }
    return false;
}

bool answer_read(const redisReply *reply, enum question question, struct answer *ret, char *why, size_t size)
{
    const bool asked = ret->asked;
    *ret = (struct answer){.asked = asked};
    if (reply->type == REDIS_REPLY_ERROR) {
        ret->vote = VOTE_FAILED;
        ret->status = answer_classify(reply->str, why, size);
        return false;
    }
    if (read_reply(reply, question, ret))
        return true;
    *ret = (struct answer){.asked = asked, .vote = VOTE_FAILED, .status = DLOCK_REFUSED, .uncertain = true};
    snprintf(why, size, "an answer that dlock does not understand; is it a Redis server?");
    return false;
}
