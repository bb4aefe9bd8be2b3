/* record.c - the document of a key: how it is read, what it says, and how it is changed.
 *
 * A renewal cannot be decided when it is sent, since classic update operators cannot compare with the server's clock.
 * So the server stamps it ($currentDate), and the document says until when it had to be made (`due_at`): whoever reads
 * it sees whether it counts. Called by mongodb.c, command.c and sweep.c. */
#include "internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* The year 148000: sums and differences of such dates and of times to live, and their microseconds, can be counted. */
#define DATE_MAX (INT64_MAX / 2000)

void record_id(const struct mongodb_session *session, const char *key, char ret[ID_SIZE])
{
    snprintf(ret, ID_SIZE, "%s:%s", session->prefix, key);
}

void record_append_id(const struct mongodb_session *session, bson_t *filter, const char *key)
{
    char id[ID_SIZE];
    record_id(session, key, id);
    BSON_APPEND_UTF8(filter, "_id", id);
}

static bool read_number(const bson_t *document, const char *name, int64_t least, int64_t *ret)
{
    bson_iter_t field;
    if (!bson_iter_init_find(&field, document, name) || !BSON_ITER_HOLDS_NUMBER(&field))
        return false;
    *ret = bson_iter_as_int64(&field);
    return *ret >= least;
}

bool record_read_date(const bson_t *document, const char *name, int64_t *ret)
{
    bson_iter_t field;
    if (!bson_iter_init_find(&field, document, name) || !BSON_ITER_HOLDS_DATE_TIME(&field))
        return false;
    const int64_t date = bson_iter_date_time(&field);
    if (date < 0 || date > DATE_MAX)
        return false;
    *ret = date;
    return true;
}

/* The same of one that need not be there. */
static bool read_later_date(const bson_t *document, const char *name, int64_t *ret)
{
    return !bson_has_field(document, name) || record_read_date(document, name, ret);
}

static bool read_owner(const bson_t *document, dlock_info *info)
{
    bson_iter_t field;
    uint32_t length;
    if (!bson_iter_init_find(&field, document, "owner") || !BSON_ITER_HOLDS_UTF8(&field))
        return false;
    const char *owner = bson_iter_utf8(&field, &length);
    if (length >= sizeof info->owner || strlen(owner) != length)
        return false;
    memcpy(info->owner, owner, length + 1);
    return true;
}

/* Every change sets these, so one that lacks them is not ours; the last two come with a renewal and a release. */
static const char *wrong_field(const bson_t *document, struct record *ret)
{
    int64_t fence, ttl_ms;
    if (!read_owner(document, &ret->info))
        return "owner (a string)";
    if (!read_number(document, "fence", 1, &fence))
        return "fence (a number)";
    if (!read_number(document, "ttl_ms", 1, &ttl_ms) || ttl_ms > DLOCK_TTL_MAX_MS)
        return "ttl_ms (a number, at most 24 hours)";
    if (!record_read_date(document, "acquired_at", &ret->acquired_at))
        return "acquired_at (a date)";
    if (!record_read_date(document, "renewed_at", &ret->renewed_at))
        return "renewed_at (a date)";
    if (!read_later_date(document, "due_at", &ret->due_at))
        return "due_at (a date)";
    if (!read_later_date(document, "released_at", &ret->released_at))
        return "released_at (a date)";
    ret->info.fence = (uint64_t)fence;
    ret->info.ttl_ms = (uint32_t)ttl_ms;
    return NULL;
}

bool record_read(struct mongodb_session *session, const bson_t *document, struct record *ret)
{
    *ret = (struct record){.there = true, .due_at = INT64_MAX};
    const char *wrong = wrong_field(document, ret);
    if (wrong) {
        bson_iter_t id;
        const bool named = bson_iter_init_find(&id, document, "_id") && BSON_ITER_HOLDS_UTF8(&id);
        session->not_done = true;
        dlock_error_set(&session->error, DLOCK_REFUSED,
                        "%s: the document with the _id \"%.200s\" is not a lock of this program: it lacks %s; use "
                        "another collection or prefix, or remove it",
                        session->where, named ? bson_iter_utf8(&id, NULL) : "?", wrong);
        return false;
    }
    read_number(document, "batch", INT64_MIN, &ret->batch);
    return true;
}

int64_t record_end(const struct record *record)
{
    return record->renewed_at + record->info.ttl_ms;
}

/* Dates are cut to whole milliseconds, so the last one still belongs to the lease. */
bool record_live_at(const struct record *record, int64_t now)
{
    return record->there && record->renewed_at <= record->due_at && now <= record_end(record);
}

dlock_info record_info(const struct record *record, int64_t now)
{
    dlock_info info = record->info;
    const int64_t left = record_end(record) - now + 1;
    info.remaining_ms = left < 0 ? 0 : left < info.ttl_ms ? left : info.ttl_ms; /* it may be younger than `now` */
    info.held_ms = now > record->acquired_at ? now - record->acquired_at : 0;
    return info;
}

/* A date that the server has stamped. Some keep more of it than the whole milliseconds that they tell. */
static void append_stamp(bson_t *filter, const char *name, int64_t stamp)
{
    bson_t range;
    BSON_APPEND_DOCUMENT_BEGIN(filter, name, &range);
    BSON_APPEND_DATE_TIME(&range, "$gte", stamp);
    BSON_APPEND_DATE_TIME(&range, "$lt", stamp + 1);
    bson_append_document_end(filter, &range);
}

void record_append_seen(bson_t *filter, const struct record *seen)
{
    BSON_APPEND_UTF8(filter, "owner", seen->info.owner);
    BSON_APPEND_INT64(filter, "fence", (int64_t)seen->info.fence);
    BSON_APPEND_INT64(filter, "ttl_ms", seen->info.ttl_ms);
    append_stamp(filter, "acquired_at", seen->acquired_at);
    append_stamp(filter, "renewed_at", seen->renewed_at);
    if (seen->due_at == INT64_MAX)
        BSON_APPEND_NULL(filter, "due_at"); /* matches a field that is not there */
    else
        BSON_APPEND_DATE_TIME(filter, "due_at", seen->due_at);
}

static void append_now(bson_t *update, const char *first, const char *second)
{
    bson_t dates;
    BSON_APPEND_DOCUMENT_BEGIN(update, "$currentDate", &dates);
    BSON_APPEND_BOOL(&dates, first, true);
    if (second)
        BSON_APPEND_BOOL(&dates, second, true);
    bson_append_document_end(update, &dates);
}

void record_grant(bson_t *update, const char *owner, uint32_t ttl_ms, uint64_t fence)
{
    bson_t fields;
    BSON_APPEND_DOCUMENT_BEGIN(update, "$set", &fields);
    BSON_APPEND_UTF8(&fields, "owner", owner);
    BSON_APPEND_INT64(&fields, "fence", (int64_t)fence);
    BSON_APPEND_INT64(&fields, "ttl_ms", ttl_ms);
    bson_append_document_end(update, &fields);
    append_now(update, "acquired_at", "renewed_at");
    BSON_APPEND_DOCUMENT_BEGIN(update, "$unset", &fields);
    BSON_APPEND_UTF8(&fields, "due_at", "");
    BSON_APPEND_UTF8(&fields, "released_at", "");
    BSON_APPEND_UTF8(&fields, "batch", "");
    bson_append_document_end(update, &fields);
}

void record_renew(bson_t *update, const struct record *seen, uint32_t ttl_ms, int64_t batch)
{
    bson_t fields;
    BSON_APPEND_DOCUMENT_BEGIN(update, "$set", &fields);
    BSON_APPEND_INT64(&fields, "ttl_ms", ttl_ms);
    BSON_APPEND_DATE_TIME(&fields, "due_at", record_end(seen));
    if (batch)
        BSON_APPEND_INT64(&fields, "batch", batch);
    bson_append_document_end(update, &fields);
    append_now(update, "renewed_at", NULL);
}

void record_release(bson_t *update, int64_t batch)
{
    bson_t fields;
    BSON_APPEND_DOCUMENT_BEGIN(update, "$set", &fields);
    BSON_APPEND_UTF8(&fields, "owner", "");
    if (batch)
        BSON_APPEND_INT64(&fields, "batch", batch);
    bson_append_document_end(update, &fields);
    append_now(update, "released_at", NULL);
}
