/* common.h - what the programs of the torture run share: a history that survives kill -9, the resource, chance.
 *
 * A history is a text file; README.md says what its lines mean. Each line is one write() to a file opened with
 * O_APPEND, so that what was written is there however the writer ends, and several processes may share a file. */
#ifndef DLOCK_TESTS_TORTURE_COMMON_H
#define DLOCK_TESTS_TORTURE_COMMON_H

#include <stdbool.h>
#include <stdint.h>

/* Microseconds of CLOCK_BOOTTIME: the clock of all times in a history. */
int64_t now_us(void);

/* Ends this program, with a message on stderr, if something fails that no fault of the run explains. */
__attribute__((format(printf, 1, 2), noreturn)) void die(const char *format, ...);

/* Lines go to FOLDER/WHO.history from now on; WHO stands in each of them. */
void history_open(const char *folder, const char *who);

/* One line: the time, who, the process, and what the format makes, which begins with the number of a hold. */
__attribute__((format(printf, 1, 2))) void history(const char *format, ...);

/* Pseudo-random numbers that depend on the seed alone. */
struct chance {
    uint64_t state;
};
void chance_init(struct chance *chance, const char *seed);
uint32_t chance_below(struct chance *chance, uint32_t limit);
uint32_t chance_between(struct chance *chance, uint32_t first, uint32_t last);
bool chance_of(struct chance *chance, uint32_t percent);

/* The resource that the locks protect: a number per key, in two tables. A client reads a number and writes it back with
 * one added. The fenced table refuses a fence smaller than the largest that it has seen, also when it is read; the
 * other one takes all. It is a process of its own, so that a client which is stopped in the middle holds nobody else
 * up. */
enum resource_table { RESOURCE_FENCED, RESOURCE_UNFENCED, RESOURCE_TABLES };
enum resource_operation { RESOURCE_READ, RESOURCE_WRITE };

#define RESOURCE_SOCKET "resource.sock" /* in the folder of the run; SOCK_SEQPACKET */
#define RESOURCE_KEYS   64

struct resource_question {
    uint32_t table, operation, key, padding;
    uint64_t fence, value;
};
struct resource_answer {
    uint64_t accepted, value;
};

/* Keys are numbers here; "key-2" is 2. */
void resource_connect(const char *folder);
bool resource_read(enum resource_table table, uint32_t key, uint64_t fence, uint64_t *ret);
bool resource_write(enum resource_table table, uint32_t key, uint64_t fence, uint64_t value);

#endif
