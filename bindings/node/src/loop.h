/* loop.h - what the addon uses of libuv, whose functions every node exports.
 *
 * No npm package has the header. Handles are memory whose size libuv tells, so that no layout is assumed; the numbers
 * are part of libuv's ABI, which is the same for all of 1.x. */
#ifndef DLOCK_NODE_LOOP_H
#define DLOCK_NODE_LOOP_H

#include <stddef.h>
#include <stdint.h>

typedef struct uv_loop_s uv_loop_t;
typedef struct uv_handle_s uv_handle_t;

enum { UV_ASYNC = 1, UV_IDLE = 6, UV_POLL = 8 };
enum { UV_READABLE = 1 };

size_t uv_handle_size(int type);
void *uv_handle_get_data(const uv_handle_t *handle);
void uv_handle_set_data(uv_handle_t *handle, void *data);
void uv_ref(uv_handle_t *handle);
void uv_unref(uv_handle_t *handle);
void uv_close(uv_handle_t *handle, void (*closed)(uv_handle_t *handle));

int uv_poll_init(uv_loop_t *loop, uv_handle_t *poll, int fd);
int uv_poll_start(uv_handle_t *poll, int events, void (*ready)(uv_handle_t *poll, int status, int events));
int uv_poll_stop(uv_handle_t *poll);

/* `turn` is called once in each turn of the loop, which does not sleep meanwhile. */
int uv_idle_init(uv_loop_t *loop, uv_handle_t *idle);
int uv_idle_start(uv_handle_t *idle, void (*turn)(uv_handle_t *idle));
int uv_idle_stop(uv_handle_t *idle);

uint64_t uv_hrtime(void); /* nanoseconds */

int uv_async_init(uv_loop_t *loop, uv_handle_t *async, void (*woken)(uv_handle_t *async));
int uv_async_send(uv_handle_t *async);

#endif
