/* show.c - dlock status and list: who holds what.
 *
 * Called by main.c. The tables show a hold by machine, pid and the start of its random part; JSON has the whole owner
 * token, with which anybody could release the lock - who can ask here could break it anyway. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "commands.h"
#include "duration.h"
#include "json.h"
#include "report.h"
#include "text.h"

/* ---- status ------------------------------------------------------------------------------------------------- */

static void print_status(const struct settings *s, const dlock_info *info)
{
    char key[TEXT_KEY_SIZE], who[HOLDER_TEXT_SIZE], left[DURATION_SIZE], ttl[DURATION_SIZE];
    const bool held = *info->owner;
    struct json j;

    text_escape(s->key, key, sizeof key);
    if (s->json) {
        json_begin(&j);
        json_text(&j, "key", s->key);
        json_flag(&j, "held", held);
        if (held)
            json_info(&j, info);
        json_end(&j);
        puts(j.text);
    } else if (held) {
        printf("%s: held by %s, expires in %s, ttl %s, fence %" PRIu64 "\n", key, holder_show(info, who),
               duration_show(info->remaining_ms, left), duration_show(info->ttl_ms ? (int64_t)info->ttl_ms : -1, ttl),
               info->fence);
    } else {
        printf("%s: free\n", key);
    }
}

int command_status(const struct settings *s)
{
    dlock_factory *factory = NULL;
    dlock_error error;
    dlock_info info;
    int status;

    if (dlock_factory_open(s->store, NULL, &factory, &error) != DLOCK_OK ||
        dlock_inspect(factory, s->key, &info, &error) != DLOCK_OK) {
        status = report_failure(&error);
    } else {
        print_status(s, &info);
        status = report_output(*info.owner ? STATUS_OK : STATUS_FREE);
    }
    dlock_factory_close(factory);
    return status;
}

/* ---- list --------------------------------------------------------------------------------------------------- */

enum { KEY, HOLDER, MACHINE, PID, HELD, EXPIRES, FENCE, COLUMNS };

struct row {
    char *cells[COLUMNS];
};

struct table {
    struct row *rows;
    size_t count, room;
    bool failed; /* out of memory */
};

static bool table_add(struct table *t, const char *const cells[COLUMNS])
{
    if (t->count == t->room) {
        const size_t room = t->room ? t->room * 2 : 16;
        struct row *rows = realloc(t->rows, room * sizeof *rows);
        if (!rows)
            return false;
        t->rows = rows;
        t->room = room;
    }
    struct row *row = &t->rows[t->count++];
    *row = (struct row){{NULL}};
    for (size_t i = 0; i < COLUMNS; i++) {
        row->cells[i] = strdup(cells[i]);
        if (!row->cells[i])
            return false;
    }
    return true;
}

static void table_print(const struct table *t)
{
    size_t widths[COLUMNS] = {0};

    for (size_t r = 0; r < t->count; r++)
        for (size_t c = 0; c < COLUMNS; c++)
            if (text_width(t->rows[r].cells[c]) > widths[c])
                widths[c] = text_width(t->rows[r].cells[c]);
    for (size_t r = 0; r < t->count; r++)
        for (size_t c = 0; c < COLUMNS; c++) {
            const char *cell = t->rows[r].cells[c];
            const bool last = c == COLUMNS - 1;
            printf("%s%*s", cell, last ? 0 : (int)(widths[c] - text_width(cell)), "");
            fputs(last ? "\n" : "  ", stdout);
        }
}

static void table_free(struct table *t)
{
    for (size_t r = 0; r < t->count; r++)
        for (size_t c = 0; c < COLUMNS; c++)
            free(t->rows[r].cells[c]);
    free(t->rows);
}

static bool add_hold(void *arg, const char *key, const dlock_info *info)
{
    struct table *table = arg;
    struct holder holder;
    char shown[TEXT_KEY_SIZE], mark[40], pid[24] = "-", fence[24], held[DURATION_SIZE], left[DURATION_SIZE];

    if (holder_parse(&holder, info->owner))
        snprintf(pid, sizeof pid, "%" PRId64, holder.pid);
    snprintf(fence, sizeof fence, "%" PRIu64, info->fence);
    const char *const cells[COLUMNS] = {[KEY] = text_escape(key, shown, sizeof shown),
                                        [HOLDER] = text_escape(holder.mark, mark, sizeof mark),
                                        [MACHINE] = *holder.machine ? holder.machine : "-",
                                        [PID] = pid,
                                        [HELD] = duration_show(info->held_ms, held),
                                        [EXPIRES] = duration_show(info->remaining_ms, left),
                                        [FENCE] = info->fence ? fence : "-"};
    table->failed = !table_add(table, cells);
    return !table->failed;
}

static dlock_status list_as_table(dlock_factory *factory, const struct settings *s, dlock_error *error)
{
    static const char *const head[COLUMNS] = {"KEY", "HOLDER", "MACHINE", "PID", "HELD FOR", "EXPIRES IN", "FENCE"};
    struct table table = {.failed = false};
    dlock_status status = DLOCK_OK;

    table.failed = !table_add(&table, head);
    if (!table.failed)
        status = dlock_list(factory, s->key, add_hold, &table, error);
    if (table.failed) {
        *error = (dlock_error){.status = DLOCK_NOMEM};
        status = DLOCK_NOMEM;
    }
    if (status == DLOCK_OK)
        table_print(&table);
    table_free(&table);
    return status;
}

static bool print_hold(void *arg, const char *key, const dlock_info *info)
{
    bool *first = arg;
    struct json j;

    json_begin(&j);
    json_text(&j, "key", key);
    json_info(&j, info);
    json_end(&j);
    printf("%s\n  %s", *first ? "" : ",", j.text);
    *first = false;
    return true;
}

static dlock_status list_as_json(dlock_factory *factory, const struct settings *s, dlock_error *error)
{
    bool first = true;

    putchar('[');
    const dlock_status status = dlock_list(factory, s->key, print_hold, &first, error);
    fputs(first ? "]\n" : "\n]\n", stdout);
    return status;
}

int command_list(const struct settings *s)
{
    dlock_factory *factory = NULL;
    dlock_error error;
    dlock_status status = dlock_factory_open(s->store, NULL, &factory, &error);

    if (status == DLOCK_OK)
        status = s->json ? list_as_json(factory, s, &error) : list_as_table(factory, s, &error);
    const int exit_status = status == DLOCK_OK ? STATUS_OK : report_failure(&error);
    dlock_factory_close(factory);
    return report_output(exit_status);
}
