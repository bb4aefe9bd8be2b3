/* look.c - see look.h. */
#include "look.h"

#include "dlock_storage.h"

#include <sched.h>
#include <stdatomic.h>

#define AWAY_US     20 /* for which somebody else had the processor */
#define IN_VAIN_MAX 8
#define LOOK_AGAIN  64

static atomic_int waiting; /* threads of this process, for an answer */

static bool is_to_look(const struct look *look)
{
    return look->in_vain < IN_VAIN_MAX || look->in_vain % LOOK_AGAIN == 0;
}

static bool find(int64_t most_us, bool (*there)(void *arg), void *arg)
{
    const int64_t begin = dlock_clock_us();
    int64_t before, now = begin;
    do {
        if (there(arg))
            return true;
        before = now;
        sched_yield();
        now = dlock_clock_us();
    } while (waiting == 1 && now - before < AWAY_US && now - begin < most_us);
    return false;
}

bool look_begin(struct look *look, bool (*there)(void *arg), void *arg)
{
    const bool found = waiting++ == 0 && is_to_look(look) && find(look->most_us, there, arg);
    look->in_vain = found ? 0 : look->in_vain + 1;
    return found;
}

void look_end(void)
{
    waiting--;
}
