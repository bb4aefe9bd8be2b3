/* resource.c - the resource that the locks of a torture run protect, and the watch over the machine; see common.h.
 *
 * resource FOLDER: prints a line when it serves, and ends when its stdin does. Its history says which updates it
 * refused or lost, at the end how many there were, and when the machine let this process wait: then it lets others wait
 * too, and whoever judges a time has to allow for that. */
#include "common.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define CLIENTS_MAX 256
#define TICK_MS     10
#define STALL_MS    20 /* what is shorter is not worth a line */

struct number {
    uint64_t value, fence;
    uint64_t updates, refused, lost;
};
static struct number tables[RESOURCE_TABLES][RESOURCE_KEYS];
static const char *const table_names[RESOURCE_TABLES] = {"fenced", "unfenced"};

static int listen_at(const char *folder)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%.90s/%s", folder, RESOURCE_SOCKET);
    const int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) != 0 || listen(fd, CLIENTS_MAX) != 0)
        die("%s: %s", address.sun_path, strerror(errno));
    return fd;
}

static struct resource_answer answer(const struct resource_question *question)
{
    struct number *number = &tables[question->table][question->key];
    if (question->table == RESOURCE_FENCED) {
        if (question->fence < number->fence) {
            number->refused++;
            history("- refused key-%u table=fenced fence=%llu seen=%llu", question->key,
                    (unsigned long long)question->fence, (unsigned long long)number->fence);
            return (struct resource_answer){.accepted = 0};
        }
        /* Also by a read: otherwise the holder of a smaller fence could still write after it, and that be lost. */
        number->fence = question->fence;
    }
    if (question->operation == RESOURCE_WRITE) {
        number->updates++;
        if (question->value <= number->value) {
            const uint64_t lost = number->value + 1 - question->value;
            number->lost += lost;
            history("- overwritten key-%u table=%s fence=%llu updates=%llu", question->key,
                    table_names[question->table], (unsigned long long)question->fence, (unsigned long long)lost);
        }
        number->value = question->value;
    }
    return (struct resource_answer){.accepted = 1, .value = number->value};
}

/* False = the client is gone. */
static bool serve(int fd)
{
    struct resource_question question;
    const ssize_t length = recv(fd, &question, sizeof question, MSG_DONTWAIT);
    if (length < 0)
        return errno == EAGAIN || errno == EINTR;
    if (length != sizeof question || question.table >= RESOURCE_TABLES || question.key >= RESOURCE_KEYS)
        return false;
    const struct resource_answer reply = answer(&question);
    return send(fd, &reply, sizeof reply, MSG_NOSIGNAL | MSG_DONTWAIT) == sizeof reply;
}

static void sum_up(void)
{
    for (uint32_t table = 0; table < RESOURCE_TABLES; table++)
        for (uint32_t key = 0; key < RESOURCE_KEYS; key++) {
            const struct number *number = &tables[table][key];
            if (number->updates > 0 || number->refused > 0)
                history("- total key-%u table=%s updates=%llu refused=%llu overwritten=%llu", key, table_names[table],
                        (unsigned long long)number->updates, (unsigned long long)number->refused,
                        (unsigned long long)number->lost);
        }
}

int main(int argc, char **argv)
{
    struct pollfd files[2 + CLIENTS_MAX] = {{.fd = STDIN_FILENO, .events = POLLIN}};
    nfds_t count = 2;

    if (argc != 2)
        die("usage: resource FOLDER");
    history_open(argv[1], "resource");
    files[1] = (struct pollfd){.fd = listen_at(argv[1]), .events = POLLIN};
    puts("serves");
    fflush(stdout);
    while (!files[0].revents) {
        const int64_t before = now_us();
        const int ready = poll(files, count, TICK_MS);
        const int64_t late_ms = (now_us() - before) / 1000 - TICK_MS;
        if (late_ms >= STALL_MS)
            history("- stall - ms=%lld", (long long)late_ms);
        if (ready <= 0)
            continue;
        for (nfds_t i = count; i-- > 2;)
            if (files[i].revents && !serve(files[i].fd)) {
                close(files[i].fd);
                files[i] = files[--count];
            }
        if (files[1].revents) {
            const int fd = accept4(files[1].fd, NULL, NULL, SOCK_CLOEXEC);
            if (fd >= 0 && count < 2 + CLIENTS_MAX)
                files[count++] = (struct pollfd){.fd = fd, .events = POLLIN};
            else if (fd >= 0)
                close(fd);
        }
    }
    sum_up();
    return 0;
}
