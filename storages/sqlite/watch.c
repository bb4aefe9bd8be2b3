/* watch.c - waking those who wait for a key in another process, by inotify.
 *
 * Called by the core through dlock_sqlite_storage, and by sqlite.c after a release. Beside the file is a folder with
 * at most WATCH_MARKS empty files, the marks; a key's mark is named by its hash. Who waits makes the mark and watches
 * it; who releases opens the mark for writing and closes it, which inotify reports. Which marks there are stands in the
 * file, so that a release costs nothing where nobody ever waited. Marks stay: they are bounded, and taking them away
 * would lose wake-ups. */
#include "internal.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

struct watched_key {
    struct watched_key *next;
    char key[];
};

struct watch {
    int descriptor;
    int file; /* id of the file's own watch: what is watched beside a file that is moved away is never heard of */
    struct {
        int id; /* of inotify */
        struct watched_key *keys;
        bool hinted;
    } marks[WATCH_MARKS];
};

/* FNV-1a, 32 bits, folded to 8: part of the format. */
unsigned watch_mark(const char *key)
{
    uint32_t hash = 2166136261u;
    for (; *key; key++)
        hash = (hash ^ (unsigned char)*key) * 16777619u;
    return (hash ^ hash >> 8 ^ hash >> 16 ^ hash >> 24) & 0xFF;
}

/* The name of the mark, beside the file that links lead to; false if it is too long for a path. */
static bool name_mark(const struct sqlite_session *session, unsigned mark, char ret[PATH_MAX])
{
    return snprintf(ret, PATH_MAX, "%s-wake/%02x", sqlite3_db_filename(session->db, "main"), mark) < PATH_MAX;
}

void watch_wake(const struct sqlite_session *session, const char *key)
{
    char name[PATH_MAX];
    if (!name_mark(session, watch_mark(key), name))
        return;
    const int descriptor = open(name, O_WRONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);
    if (descriptor >= 0)
        close(descriptor);
}

int watch_descriptor(void *memory)
{
    struct sqlite_session *session = memory;
    if (session->watch)
        return session->watch->descriptor;
    struct watch *watch = calloc(1, sizeof *watch);
    if (!watch)
        return -1;
    watch->descriptor = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (watch->descriptor < 0) {
        free(watch);
        return -1;
    }
    watch->file = inotify_add_watch(watch->descriptor, sqlite3_db_filename(session->db, "main"),
                                    IN_ATTRIB | IN_MOVE_SELF); /* deletion changes the count of its names */
    session->watch = watch;
    return watch->descriptor;
}

/* Makes the folder and the mark, for the same users as the file. */
static bool make_mark(const struct sqlite_session *session, char *name)
{
    struct stat file;
    if (stat(session->path, &file) != 0)
        return false;
    const mode_t mode = file.st_mode & 0666, folder_mode = mode | (mode & 0444) >> 2;
    char *slash = strrchr(name, '/');
    *slash = '\0';
    if (mkdir(name, folder_mode) == 0) {
        /* The umask of whoever waits first must not shut out others. */
        if (chmod(name, folder_mode) != 0 || (geteuid() == 0 && chown(name, file.st_uid, file.st_gid) != 0))
            return false;
    }
    *slash = '/';
    if (mknod(name, S_IFREG | mode, 0) != 0)
        return errno == EEXIST;
    return chmod(name, mode) == 0 && (geteuid() != 0 || chown(name, file.st_uid, file.st_gid) == 0);
}

/* From now on a release looks for the mark. */
static dlock_status set_mark(struct sqlite_session *session, unsigned mark, dlock_error *error)
{
    sqlite3_stmt *statement;
    session_set_deadline(session);
    int code = session_get(session, STATEMENT_SET_MARK, &statement);
    if (code == SQLITE_OK) {
        sqlite3_bind_int(statement, 1, (int)mark);
        code = session_finish(statement);
    }
    return code == SQLITE_OK ? DLOCK_OK : failure_set(session, code, error);
}

dlock_status watch_key(void *memory, const char *key, dlock_error *error)
{
    struct sqlite_session *session = memory;
    const unsigned mark = watch_mark(key);
    char name[PATH_MAX];
    if (watch_descriptor(session) < 0 || !name_mark(session, mark, name))
        return dlock_error_set(error, DLOCK_UNAVAILABLE, "%s: nothing can be watched", session->path);
    struct watch *watch = session->watch;
    struct watched_key *watched = malloc(sizeof *watched + strlen(key) + 1);
    if (!watched)
        return dlock_error_set(error, DLOCK_NOMEM, "out of memory");
    int id = inotify_add_watch(watch->descriptor, name, IN_CLOSE_WRITE | IN_DONT_FOLLOW);
    if (id < 0 && errno == ENOENT && make_mark(session, name))
        id = inotify_add_watch(watch->descriptor, name, IN_CLOSE_WRITE | IN_DONT_FOLLOW);
    if (id < 0) {
        free(watched);
        return dlock_error_set(error, DLOCK_UNAVAILABLE, "%s: cannot be watched: %s", name, strerror(errno));
    }
    const dlock_status status = set_mark(session, mark, error);
    if (status != DLOCK_OK) {
        free(watched);
        return status;
    }
    strcpy(watched->key, key);
    watched->next = watch->marks[mark].keys;
    watch->marks[mark].keys = watched;
    watch->marks[mark].id = id;
    return DLOCK_OK;
}

void watch_no_more(void *memory, const char *key)
{
    const struct sqlite_session *session = memory;
    struct watch *watch = session->watch;
    const unsigned mark = watch_mark(key);
    if (!watch)
        return;
    struct watched_key **link = &watch->marks[mark].keys;
    while (*link && strcmp((*link)->key, key) != 0)
        link = &(*link)->next;
    struct watched_key *watched = *link;
    if (!watched)
        return;
    *link = watched->next;
    free(watched);
    if (!watch->marks[mark].keys)
        inotify_rm_watch(watch->descriptor, watch->marks[mark].id);
}

/* What was read, besides hints. */
struct news {
    bool missed;       /* there was more than the kernel keeps */
    bool gone;         /* a mark was deleted, so nothing more would be heard of it */
    bool file_changed; /* its name or its rights */
};

static void note_event(struct watch *watch, const struct inotify_event *event, struct news *news)
{
    if (event->mask & IN_Q_OVERFLOW)
        news->missed = true;
    else if (event->wd == watch->file)
        news->file_changed = true;
    for (size_t i = 0; i < WATCH_MARKS; i++)
        if (watch->marks[i].keys && watch->marks[i].id == event->wd) {
            if (event->mask & IN_IGNORED)
                news->gone = true;
            else
                watch->marks[i].hinted = true;
        }
}

static void give_hints(struct watch *watch, void (*hint)(void *arg, const char *key), void *arg)
{
    for (size_t i = 0; i < WATCH_MARKS; i++) {
        if (!watch->marks[i].hinted)
            continue;
        watch->marks[i].hinted = false;
        for (const struct watched_key *key = watch->marks[i].keys; key; key = key->next)
            hint(arg, key->key);
    }
}

dlock_status watch_read_hints(void *memory, void (*hint)(void *arg, const char *key), void *arg, dlock_error *error)
{
    struct sqlite_session *session = memory;
    struct watch *watch = session->watch;
    _Alignas(struct inotify_event) char events[4096];
    struct news news = {0};
    ssize_t size;
    while ((size = read(watch->descriptor, events, sizeof events)) > 0)
        for (ssize_t at = 0; at < size;) {
            const struct inotify_event *event = (const struct inotify_event *)(events + at);
            note_event(watch, event, &news);
            at += (ssize_t)sizeof *event + event->len;
        }
    if (news.missed)
        hint(arg, NULL);
    give_hints(watch, hint, arg);
    if (news.gone)
        return dlock_error_set(error, DLOCK_UNAVAILABLE, "%s-wake: what was watched in it is gone", session->path);
    return news.file_changed ? session_verify_file(session, error) : DLOCK_OK;
}

void watch_close(struct sqlite_session *session)
{
    if (!session->watch)
        return;
    for (size_t i = 0; i < WATCH_MARKS; i++)
        while (session->watch->marks[i].keys) {
            struct watched_key *watched = session->watch->marks[i].keys;
            session->watch->marks[i].keys = watched->next;
            free(watched);
        }
    close(session->watch->descriptor);
    free(session->watch);
    session->watch = NULL;
}
