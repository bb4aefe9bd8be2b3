/* line.h - the waiters of one key in this process, first come first served; only the first asks the storage.
 *
 * A set of lines, by key. lock.c puts its waiting acquires into it; watcher.c watches the keys whose line wants it. */
#ifndef DLOCK_SRC_LINE_H
#define DLOCK_SRC_LINE_H

#include "dlock.h"

/* A waiter's place in its line; part of the waiter. */
struct place {
    struct place *before, *behind;
    struct line *line; /* NULL = in none */
};

struct line {
    struct line *next; /* in the bucket */
    struct place *first, *last;
    bool wants_watch; /* some waiter of it found the key busy */
    bool watched;     /* the storage tells when the key may be free; set by the watcher, which also clears it */
    bool queued;      /* the watcher is to look at it */
    struct line *next_queued;
    char key[];
};

struct lines {
    struct line **buckets;
    size_t bucket_count, count;
};

void lines_deinit(struct lines *lines);

/* Joins the end of the line for `key`. False = no memory. */
bool line_join(struct lines *lines, struct place *place, const char *key);

/* Leaves it; returns who is first by that, if anybody new is. An empty line stays until line_discard. */
struct place *line_leave(struct place *place);

/* The first waiter for `key`, or NULL. */
struct place *line_first(const struct lines *lines, const char *key);

/* Frees a line if nobody is in it and nobody watches it. */
void line_discard(struct lines *lines, struct line *line);

#endif
