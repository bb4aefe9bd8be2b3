/* lookout.h - keeps the event loop from sleeping for the moment in which a call that is alone may be answered.
 *
 * To sleep and to be woken may take longer than the answer of a server nearby. As long as the loop has an idle handle
 * it looks for what is ready and does not sleep; other work of the loop goes on as ever. Used by factory.c, in its
 * thread. */
#ifndef DLOCK_NODE_LOOKOUT_H
#define DLOCK_NODE_LOOKOUT_H

#include "loop.h"

#include <stdbool.h>
#include <stdint.h>

struct lookout {
    uv_handle_t *idle;
    void (*turn)(uv_handle_t *idle); /* calls lookout_turn */
    unsigned young;                  /* calls that run and were not looked for in vain: those may take long */
    unsigned in_vain;                /* how many times in a row the answer did not come meanwhile */
    bool looking;
    int64_t begin, before; /* of the look, and of its last turn: nanoseconds; 0 = it had none yet */
};

/* A call has started, or ended. */
void lookout_call_started(struct lookout *lookout);
void lookout_call_ended(struct lookout *lookout);

/* The loop has come round. */
void lookout_turn(struct lookout *lookout);

/* No more, whatever runs. */
void lookout_stop(struct lookout *lookout);

#endif
