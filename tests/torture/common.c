/* common.c - see common.h. */
#include "common.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

static char own_name[32];
static int history_fd = -1, resource_fd = -1;

int64_t now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_BOOTTIME, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

void die(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "%s: ", own_name);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    exit(1);
}

void history_open(const char *folder, const char *who)
{
    char path[512];
    snprintf(own_name, sizeof own_name, "%s", who);
    snprintf(path, sizeof path, "%s/%s.history", folder, who);
    history_fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    if (history_fd < 0)
        die("%s: %s", path, strerror(errno));
}

void history(const char *format, ...)
{
    char line[2048];
    va_list arguments;
    int length = snprintf(line, sizeof line, "%lld %s %d ", (long long)now_us(), own_name, getpid());
    va_start(arguments, format);
    length += vsnprintf(line + length, sizeof line - (size_t)length, format, arguments);
    va_end(arguments);
    if (length > (int)sizeof line - 2)
        length = sizeof line - 2;
    /* Messages may have several lines. */
    for (char *newline = line; (newline = memchr(newline, '\n', (size_t)(line + length - newline)));)
        *newline = ' ';
    line[length++] = '\n';
    if (write(history_fd, line, (size_t)length) != length)
        die("the history cannot be written: %s", strerror(errno));
}

/* ---- chance ------------------------------------------------------------------------------------------------------ */

void chance_init(struct chance *chance, const char *seed)
{
    chance->state = 0xcbf29ce484222325; /* FNV-1a */
    for (; *seed; seed++)
        chance->state = (chance->state ^ (unsigned char)*seed) * 0x100000001b3;
}

/* splitmix64 */
uint32_t chance_below(struct chance *chance, uint32_t limit)
{
    uint64_t mixed = chance->state += 0x9e3779b97f4a7c15;
    mixed = (mixed ^ mixed >> 30) * 0xbf58476d1ce4e5b9;
    mixed = (mixed ^ mixed >> 27) * 0x94d049bb133111eb;
    return (uint32_t)((mixed ^ mixed >> 31) >> 32) % limit;
}

uint32_t chance_between(struct chance *chance, uint32_t first, uint32_t last)
{
    return first + chance_below(chance, last - first + 1);
}

bool chance_of(struct chance *chance, uint32_t percent)
{
    return chance_below(chance, 100) < percent;
}

/* ---- the resource ------------------------------------------------------------------------------------------------ */

void resource_connect(const char *folder)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (snprintf(address.sun_path, sizeof address.sun_path, "%s/%s", folder, RESOURCE_SOCKET) >=
        (int)sizeof address.sun_path)
        die("%s is too long a name for a socket", folder);
    resource_fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (resource_fd < 0 || connect(resource_fd, (struct sockaddr *)&address, sizeof address) != 0)
        die("%s: %s", address.sun_path, strerror(errno));
}

static struct resource_answer ask(const struct resource_question *question)
{
    struct resource_answer answer;
    if (send(resource_fd, question, sizeof *question, MSG_NOSIGNAL) != sizeof *question ||
        TEMP_FAILURE_RETRY(recv(resource_fd, &answer, sizeof answer, 0)) != sizeof answer)
        die("the resource is gone: %s", strerror(errno));
    return answer;
}

bool resource_read(enum resource_table table, uint32_t key, uint64_t fence, uint64_t *ret)
{
    const struct resource_answer answer =
        ask(&(struct resource_question){.table = table, .operation = RESOURCE_READ, .key = key, .fence = fence});
    *ret = answer.value;
    return answer.accepted;
}

bool resource_write(enum resource_table table, uint32_t key, uint64_t fence, uint64_t value)
{
    const struct resource_question question = {
        .table = table, .operation = RESOURCE_WRITE, .key = key, .fence = fence, .value = value};
    return ask(&question).accepted;
}
