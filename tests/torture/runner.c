/* runner.c - one process of a torture run that holds locks by `dlock run`, and the command that runs under it.
 *
 * runner WHO URL FOLDER END_US SEED KEYS TTL_MS TIMEOUT_MS DLOCK: started by torture.py; runs one `dlock run` after the
 * other. runner command WHO FOLDER HOLD KEY SEED: that command. It believes that the lock is held for as long as it
 * lives, as any command under dlock may; so its looks say so.
 *
 * The lines of its history are those of client.c. */
#include "common.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void nap(uint32_t ms)
{
    nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000}, NULL);
}

static int command(char **words)
{
    const char *hold = words[2], *fence_text = getenv("DLOCK_FENCE"), *owner = getenv("DLOCK_OWNER");
    const uint32_t key = (uint32_t)strtoul(words[3], NULL, 10);
    struct chance chance;
    uint64_t fenced, unfenced;

    history_open(words[1], words[0]);
    chance_init(&chance, words[4]);
    if (!fence_text || !owner)
        die("DLOCK_FENCE or DLOCK_OWNER is not set");
    const uint64_t fence = strtoull(fence_text, NULL, 10);
    history("%s told key-%u call=acquire status=OK fence=%" PRIu64 " owner=%s", hold, key, fence, owner);
    resource_connect(words[1]);
    if (chance_of(&chance, 50))
        signal(SIGTERM, SIG_IGN); /* then only KILL helps, if the lock is lost */
    const uint32_t rounds = chance_of(&chance, 15) ? chance_between(&chance, 50, 300) : chance_between(&chance, 1, 5);
    for (uint32_t i = 0; i < rounds; i++) {
        const bool admitted = fence > 0 && resource_read(RESOURCE_FENCED, key, fence, &fenced);
        resource_read(RESOURCE_UNFENCED, key, fence, &unfenced);
        nap(chance_below(&chance, 10));
        const int64_t since = now_us();
        history("%s look key-%u since=%" PRId64 " held=1 left=0", hold, key, since);
        if (admitted)
            resource_write(RESOURCE_FENCED, key, fence, fenced + 1);
        resource_write(RESOURCE_UNFENCED, key, fence, unfenced + 1);
    }
    history("%s asks key-%u call=release owner=%s", hold, key, owner);
    return 0;
}

static void run(const char *hold, const char *key, const char *const *words)
{
    const pid_t parent = getpid(), pid = fork();
    int status;
    if (pid < 0)
        die("fork: %s", strerror(errno));
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() == parent)
            execv(words[0], (char *const *)words); /* which changes none of them */
        _exit(127);
    }
    if (waitpid(pid, &status, 0) != pid)
        die("waitpid: %s", strerror(errno));
    if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
        die("%s cannot be run", words[0]);
    history("%s exits %s code=%d", hold, key, WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status));
}

int main(int argc, char **argv)
{
    struct chance chance;

    if (argc == 7 && strcmp(argv[1], "command") == 0)
        return command(argv + 2);
    if (argc != 10)
        die("usage: runner WHO URL FOLDER END_US SEED KEYS TTL_MS TIMEOUT_MS DLOCK");
    history_open(argv[3], argv[1]);
    chance_init(&chance, argv[5]);
    const int64_t end_us = strtoll(argv[4], NULL, 10);
    const uint32_t keys = (uint32_t)strtoul(argv[6], NULL, 10), most_ttl = (uint32_t)strtoul(argv[7], NULL, 10);
    history("- starts -");
    for (unsigned hold = 1; now_us() < end_us; hold++) {
        char key_name[16], key_number[16], number[16], ttl[16], wait[16], seed[16];
        const uint32_t key = chance_below(&chance, keys), ttl_ms = most_ttl * chance_between(&chance, 1, 3) / 3,
                       wait_ms = chance_between(&chance, most_ttl, 3 * most_ttl);
        snprintf(key_name, sizeof key_name, "key-%u", key);
        snprintf(key_number, sizeof key_number, "%u", key);
        snprintf(number, sizeof number, "%u", hold);
        snprintf(ttl, sizeof ttl, "%ums", ttl_ms);
        snprintf(wait, sizeof wait, "%ums", wait_ms);
        snprintf(seed, sizeof seed, "%u", chance_below(&chance, UINT32_MAX));
        history("%u asks %s call=acquire ttl=%u wait=%u retries=0 interval=200 renew=1 margin=0 run=1", hold, key_name,
                ttl_ms, wait_ms);
        run(number, key_name, (const char *[]){argv[9],   "run",   "-q",         "-S",    argv[2],    "-t", ttl,
                                               "-w",      wait,    "--interval", "200ms", key_name,   "--", argv[0],
                                               "command", argv[1], argv[3],      number,  key_number, seed, NULL});
        nap(chance_below(&chance, 30));
    }
    history("- ends -");
    return 0;
}
