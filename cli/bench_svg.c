/* bench_svg.c - the times that dlock bench found, as a chart: a bar for each, on a scale where every step is ten times
 * the one before.
 *
 * Called by bench.c. The file needs nothing else, and follows the reader's light or dark colours. */
#include "bench.h"

#include <math.h>
#include <stdio.h>

#include "text.h"

#define WIDTH  760
#define LEFT   240 /* of the bars; their names stand before it */
#define RIGHT  600 /* of the bars; figures stand behind it */
#define TOP    74
#define ROW    30
#define BOTTOM 44

static const char style[] = "text{font:13px system-ui,sans-serif;fill:#222}.small{font-size:11px;fill:#666}"
                            ".title{font-size:16px;font-weight:600}.back{fill:#fff}.grid{stroke:#ddd}"
                            ".median{fill:#2b6cb0}.p99{fill:#63a4e0}.p999{fill:#b5d3f0}"
                            "@media(prefers-color-scheme:dark){text{fill:#eee}.small{fill:#aaa}.back{fill:#1b1f24}"
                            ".grid{stroke:#3a4048}.median{fill:#63a4e0}.p99{fill:#2b6cb0}.p999{fill:#1c3f66}}";

/* A time's place on the axis, which goes from one power of ten to another. */
struct axis {
    int first, last; /* us */
};

static double place(const struct axis *axis, double us)
{
    const double part = (log10(us) - axis->first) / (axis->last - axis->first);

    return LEFT + (RIGHT - LEFT) * (part < 0 ? 0 : part);
}

/* The longest time of a row that is known. */
static double longest(const struct bench_row *row)
{
    return row->p999_us > 0 ? row->p999_us : row->p99_us > 0 ? row->p99_us : row->median_us;
}

static struct axis axis_of(const struct bench *b)
{
    struct axis axis = {.first = 0, .last = 1};

    for (size_t i = 0; i < b->row_count; i++) {
        const int low = (int)floor(log10(b->rows[i].median_us)), high = (int)ceil(log10(longest(&b->rows[i])));
        axis.first = i == 0 || low < axis.first ? low : axis.first;
        axis.last = i == 0 || high > axis.last ? high : axis.last;
    }
    if (axis.last <= axis.first)
        axis.last = axis.first + 1;
    return axis;
}

/* Text between tags. */
static void put_text(FILE *file, const char *text)
{
    for (; *text; text++) {
        if (*text == '&')
            fputs("&amp;", file);
        else if (*text == '<')
            fputs("&lt;", file);
        else
            fputc(*text, file);
    }
}

static void put_axis(FILE *file, const struct axis *axis, int bottom)
{
    for (int step = axis->first; step <= axis->last; step++) {
        const double us = pow(10, step), x = place(axis, us);
        fprintf(file, "<line class=\"grid\" x1=\"%.1f\" y1=\"%d\" x2=\"%.1f\" y2=\"%d\"/>", x, TOP - 8, x, bottom);
        fprintf(file, "<text class=\"small\" x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%g %s</text>\n", x, bottom + 16,
                us < 1000  ? us
                : us < 1e6 ? us / 1e3
                           : us / 1e6,
                us < 1000  ? "us"
                : us < 1e6 ? "ms"
                           : "s");
    }
}

/* A part of a bar that ends at a time, if that is known; returns where the next part begins. */
static double put_part(FILE *file, const struct axis *axis, const char *class, double from, double us, int y)
{
    if (us < 0)
        return from;
    const double to = place(axis, us);
    fprintf(file, "<rect class=\"%s\" x=\"%.1f\" y=\"%d\" width=\"%.1f\" height=\"16\"/>", class, from, y,
            to - from > 1 ? to - from : 1);
    return to;
}

static void put_row(FILE *file, const struct axis *axis, const struct bench_row *row, int y)
{
    char median[BENCH_TIME_SIZE], last[BENCH_TIME_SIZE];

    fprintf(file, "<text x=\"12\" y=\"%d\">", y + 13);
    put_text(file, row->what);
    fputs("</text>", file);
    double x = put_part(file, axis, "median", LEFT, row->median_us, y);
    x = put_part(file, axis, "p99", x, row->p99_us, y);
    put_part(file, axis, "p999", x, row->p999_us, y);
    fprintf(file, "<text class=\"small\" x=\"%d\" y=\"%d\">%s", RIGHT + 10, y + 12,
            bench_show_time(row->median_us, median));
    if (row->p99_us >= 0)
        fprintf(file, " to %s", bench_show_time(longest(row), last));
    fputs("</text>\n", file);
}

bool bench_write_svg(const struct bench *b, const char *where, FILE *file)
{
    const struct axis axis = axis_of(b);
    const int bottom = TOP + (int)b->row_count * ROW, height = bottom + BOTTOM;
    char shown[1024];

    fprintf(file,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" width=\"%d\" height=\"%d\" role=\"img\">"
            "<title>dlock bench</title><style>%s</style><rect class=\"back\" width=\"%d\" height=\"%d\"/>\n",
            WIDTH, height, WIDTH, height, style, WIDTH, height);
    fputs("<text class=\"title\" x=\"12\" y=\"26\">", file);
    put_text(file, text_escape(where, shown, sizeof shown));
    fprintf(
        file,
        "</text><text class=\"small\" x=\"12\" y=\"46\">dlock %s: median, 99 %% and 99.9 %% of the times end where the "
        "colour changes</text>\n",
        dlock_version());
    put_axis(file, &axis, bottom);
    for (size_t i = 0; i < b->row_count; i++)
        put_row(file, &axis, &b->rows[i], TOP + (int)i * ROW);
    fputs("</svg>\n", file);
    const bool written = !ferror(file);
    return fclose(file) == 0 && written;
}
