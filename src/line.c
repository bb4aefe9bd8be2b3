/* line.c - see line.h. The set is a hash table with chains; FNV-1a (Fowler, Noll, Vo) spreads the keys. */
#include "line.h"

#include <stdlib.h>
#include <string.h>

static size_t hash(const char *key)
{
    uint64_t h = 14695981039346656037u;
    for (; *key; key++)
        h = (h ^ (unsigned char)*key) * 1099511628211u;
    return (size_t)(h ^ h >> 32);
}

static struct line *find(const struct lines *lines, const char *key)
{
    if (lines->count == 0)
        return NULL;
    struct line *line = lines->buckets[hash(key) & (lines->bucket_count - 1)];
    while (line && strcmp(line->key, key) != 0)
        line = line->next;
    return line;
}

static bool make_room(struct lines *lines)
{
    if (lines->count < lines->bucket_count)
        return true;
    const size_t bucket_count = lines->bucket_count ? lines->bucket_count * 2 : 16;
    struct line **buckets = calloc(bucket_count, sizeof(struct line *));
    if (!buckets)
        return false;
    for (size_t i = 0; i < lines->bucket_count; i++)
        for (struct line *line = lines->buckets[i], *next; line; line = next) {
            struct line **bucket = &buckets[hash(line->key) & (bucket_count - 1)];
            next = line->next;
            line->next = *bucket;
            *bucket = line;
        }
    free(lines->buckets);
    lines->buckets = buckets;
    lines->bucket_count = bucket_count;
    return true;
}

static struct line *add(struct lines *lines, const char *key)
{
    if (!make_room(lines))
        return NULL;
    const size_t size = strlen(key) + 1;
    struct line *line = calloc(1, sizeof *line + size);
    if (!line)
        return NULL;
    memcpy(line->key, key, size);
    struct line **bucket = &lines->buckets[hash(key) & (lines->bucket_count - 1)];
    line->next = *bucket;
    *bucket = line;
    lines->count++;
    return line;
}

void lines_deinit(struct lines *lines)
{
    for (size_t i = 0; i < lines->bucket_count; i++)
        for (struct line *line = lines->buckets[i], *next; line; line = next) {
            next = line->next;
            free(line);
        }
    free(lines->buckets);
}

bool line_join(struct lines *lines, struct place *place, const char *key)
{
    struct line *line = find(lines, key);
    if (!line)
        line = add(lines, key);
    if (!line)
        return false;
    *place = (struct place){.before = line->last, .line = line};
    if (line->last)
        line->last->behind = place;
    else
        line->first = place;
    line->last = place;
    return true;
}

struct place *line_leave(struct place *place)
{
    struct line *line = place->line;
    const bool was_first = line->first == place;
    if (place->before)
        place->before->behind = place->behind;
    else
        line->first = place->behind;
    if (place->behind)
        place->behind->before = place->before;
    else
        line->last = place->before;
    *place = (struct place){0};
    return was_first ? line->first : NULL;
}

struct place *line_first(const struct lines *lines, const char *key)
{
    const struct line *line = find(lines, key);
    return line ? line->first : NULL;
}

void line_discard(struct lines *lines, struct line *line)
{
    if (line->first || line->watched || line->queued)
        return;
    struct line **link = &lines->buckets[hash(line->key) & (lines->bucket_count - 1)];
    while (*link != line)
        link = &(*link)->next;
    *link = line->next;
    lines->count--;
    free(line);
}
