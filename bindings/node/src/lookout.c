/* lookout.c - see lookout.h. */
#include "lookout.h"

#include <sched.h>

#define LOOK_NS     100000
#define AWAY_NS     50000 /* for which somebody else had the processor, or the loop had other work */
#define IN_VAIN_MAX 8
#define LOOK_AGAIN  64

void lookout_stop(struct lookout *lookout)
{
    if (lookout->looking)
        uv_idle_stop(lookout->idle);
    lookout->looking = false;
}

void lookout_turn(struct lookout *lookout)
{
    sched_yield();
    const int64_t now = (int64_t)uv_hrtime();
    if (lookout->begin == 0) {
        lookout->begin = now;
    } else if (now - lookout->begin >= LOOK_NS || now - lookout->before >= AWAY_NS) {
        lookout->in_vain++;
        lookout->young = 0;
        lookout_stop(lookout);
    }
    lookout->before = now;
}

/* Hardly ever where it was in vain many times in a row, since then the storage is farther away. */
static bool is_to_look(const struct lookout *lookout)
{
    return lookout->in_vain < IN_VAIN_MAX || lookout->in_vain % LOOK_AGAIN == 0;
}

void lookout_call_started(struct lookout *lookout)
{
    if (lookout->young++ > 0) {
        lookout_stop(lookout);
    } else if (is_to_look(lookout)) {
        lookout->begin = 0;
        lookout->looking = uv_idle_start(lookout->idle, lookout->turn) == 0;
    } else {
        lookout->in_vain++;
    }
}

void lookout_call_ended(struct lookout *lookout)
{
    if (lookout->young > 0)
        lookout->young--;
    if (!lookout->looking)
        return;
    lookout->in_vain = 0;
    lookout_stop(lookout);
}
