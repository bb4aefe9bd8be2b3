/* container.h - from a member back to the struct that it is part of, for what is called with the member alone. */
#ifndef DLOCK_SRC_CONTAINER_H
#define DLOCK_SRC_CONTAINER_H

#include <stddef.h>

#define CONTAINER(pointer, type, member) ((type *)((char *)(pointer)-offsetof(type, member)))

#endif
