/* test_processes.c - eight processes on one key of MongoDB, some of which are killed while they hold it.
 *
 * What they do under the lock is what no two may do at once; a shared page shows it. Each is this program again,
 * started with a URL, a number of turns, and the descriptor of the page. */
#include "fixture.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define PROCESSES 8
#define TURNS     25
#define KILLS     10
#define TTL_MS    400

static struct page {
    volatile pid_t inside;        /* who believes that it holds the key; 0 = nobody */
    volatile int64_t valid_until; /* of its hold */
    volatile uint64_t last_fence;
    volatile unsigned number; /* counted without care: two at once lose one */
    char complaint[256];
} * page;
static int page_fd;

static void complain(const char *text, long a, long b)
{
    snprintf(page->complaint, sizeof page->complaint, "%s (%ld, %ld)", text, a, b);
    _exit(1);
}

static bool is_dead(pid_t pid)
{
    char path[32], text[128] = "";
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    FILE *file = fopen(path, "re");
    if (!file)
        return true;
    const bool read = fgets(text, sizeof text, file) != NULL;
    fclose(file);
    const char *state = read ? strrchr(text, ')') : NULL;
    return !state || state[2] == 'Z' || state[2] == 'X';
}

static void work_alone(dlock *lock)
{
    if (page->inside && !is_dead(page->inside))
        complain("two hold the key", page->inside, getpid());
    if (page->inside && dlock_clock_us() < page->valid_until)
        complain("the hold of a killed process was not over", page->inside, getpid());
    page->inside = getpid();
    page->valid_until = dlock_clock_us() + dlock_remaining_ms(lock) * 1000;
    if (dlock_fence(lock) <= page->last_fence)
        complain("a fence did not grow", (long)page->last_fence, (long)dlock_fence(lock));
    page->last_fence = dlock_fence(lock);
    const unsigned number = page->number;
    nanosleep(&(struct timespec){.tv_nsec = 500000}, NULL);
    page->number = number + 1;
    page->inside = 0;
}

static void compete(const char *url, unsigned turns)
{
    dlock_factory *factory;
    dlock *lock;
    dlock_error error = {0};
    dlock_acquire_options options = DLOCK_ACQUIRE_OPTIONS_INIT;
    options.ttl_ms = TTL_MS;
    options.retries = 100000;
    options.interval_ms = 3;
    if (dlock_factory_open(url, NULL, &factory, &error) != DLOCK_OK ||
        dlock_create(factory, "of eight", &lock, &error) != DLOCK_OK)
        complain(error.message, 0, 0);
    for (unsigned i = 0; i < turns; i++) {
        if (dlock_acquire(lock, &options, &error) != DLOCK_OK)
            complain(error.message, error.status, 0);
        work_alone(lock);
        const dlock_status status = dlock_release(lock, &error);
        if (status != DLOCK_OK && status != DLOCK_LOST) /* a machine that is stalled for a ttl loses it */
            complain(error.message, status, 0);
    }
    dlock_free(lock);
    dlock_factory_close(factory);
    _exit(0);
}

static pid_t start(unsigned turns)
{
    char number[16], descriptor[16];
    const char *url = url_direct("");
    snprintf(number, sizeof number, "%u", turns);
    snprintf(descriptor, sizeof descriptor, "%d", page_fd);
    fflush(NULL);
    const pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        execl("/proc/self/exe", "test_processes", url, number, descriptor, (char *)NULL);
        _exit(127);
    }
    return pid;
}

static int clear_page(void **state)
{
    (void)state;
    memset(page, 0, sizeof *page);
    return 0;
}

static void assert_ended_well(pid_t pid)
{
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        fail_msg("a process ended with status %d: %s", status, page->complaint);
}

static void eight_processes_take_turns(void **state)
{
    (void)state;
    pid_t pids[PROCESSES];
    for (unsigned i = 0; i < PROCESSES; i++)
        pids[i] = start(TURNS);
    for (unsigned i = 0; i < PROCESSES; i++)
        assert_ended_well(pids[i]);
    assert_int_equal(page->number, PROCESSES * TURNS);
}

static void holders_are_killed(void **state)
{
    (void)state;
    pid_t pids[PROCESSES];
    for (unsigned i = 0; i < PROCESSES; i++)
        pids[i] = start(100000);
    for (unsigned kills = 0; kills < KILLS && !page->complaint[0];) {
        const pid_t victim = page->inside;
        unsigned who = 0;
        while (who < PROCESSES && pids[who] != victim)
            who++;
        if (who == PROCESSES) {
            nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL); /* nobody is inside */
            continue;
        }
        kill(victim, SIGKILL);
        waitpid(victim, NULL, 0);
        const unsigned before = page->number;
        kills += page->inside == victim; /* else it had just left */
        pids[who] = start(100000);
        wait_for(page->number > before || page->complaint[0]); /* the next one got in */
    }
    for (unsigned i = 0; i < PROCESSES; i++) {
        int status;
        kill(pids[i], SIGKILL);
        assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
        assert_true(WIFSIGNALED(status) || page->complaint[0]); /* none has ended by itself */
    }
    assert_string_equal(page->complaint, "");
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test_setup(eight_processes_take_turns, clear_page),
    cmocka_unit_test_setup(holders_are_killed, clear_page),
};

static bool map_page(void)
{
    page = mmap(NULL, sizeof *page, PROT_READ | PROT_WRITE, MAP_SHARED, page_fd, 0);
    return page != MAP_FAILED;
}

int main(int argc, char **argv)
{
    if (argc == 4) {
        page_fd = atoi(argv[3]);
        if (!map_page())
            return 1;
        compete(argv[1], (unsigned)atoi(argv[2]));
    }
    page_fd = memfd_create("page", 0);
    if (page_fd < 0 || ftruncate(page_fd, sizeof *page) != 0 || !map_page())
        return 1;
    fixture_start();
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    fixture_stop();
    return failed ? 1 : 0;
}
