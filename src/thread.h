/* thread.h - starts the library's threads: keeper, couriers, watcher. */
#ifndef DLOCK_SRC_THREAD_H
#define DLOCK_SRC_THREAD_H

#include <pthread.h>
#include <stdbool.h>

/* Starts a thread with every signal blocked, so that the program's handlers run in its own threads. */
bool thread_start(pthread_t *ret, void *(*run)(void *), void *arg);

#endif
