/* run.c - `dlock run KEY -- true` beside `flock FILE true`, in turn: wall time, over the embedded storage or
 * another. Usage: run DLOCK [NAME URL] */
#include "bench.h"

#include <spawn.h>
#include <sys/wait.h>

#define ROUNDS 400

static double time_of(const char *const arguments[])
{
    const double begin = bench_now();
    pid_t child;
    int status;
    if (posix_spawnp(&child, arguments[0], NULL, NULL, (char *const *)arguments, environ) != 0 ||
        waitpid(child, &status, 0) != child || status != 0) {
        fprintf(stderr, "%s failed\n", arguments[0]);
        exit(1);
    }
    return bench_now() - begin;
}

int main(int argc, char **argv)
{
    if (argc != 2 && argc != 4) {
        fprintf(stderr, "usage: run DLOCK [NAME URL]\n");
        return 64;
    }
    struct bench_store store;
    bench_make_store(&store);
    char file[160];
    snprintf(file, sizeof file, "%s/flock", store.folder);
    const char *const ours[] = {argv[1], "run", "-S", argc > 2 ? argv[3] : store.url, "bench", "--", "true", NULL};
    const char *const theirs[] = {"flock", file, "true", NULL};

    double a[ROUNDS], b[ROUNDS];
    time_of(ours); /* makes the store */
    for (int i = 0; i < ROUNDS; i++) {
        a[i] = time_of(ours);
        b[i] = time_of(theirs);
    }
    bench_remove_store(&store);
    const double mine = bench_quantile(a, ROUNDS, 0.5), flock = bench_quantile(b, ROUNDS, 0.5);
    printf("%s: dlock run KEY -- true: median %.0f us; flock FILE true: %.0f us; ratio %.2f%s\n",
           argc > 2 ? argv[2] : "run", mine, flock, mine / flock, argc > 2 ? "" : " (goal: at most 2)");
    return 0;
}
