/* proxies.c - the networks of a torture run: proxies of tests/support in front of servers, which obey lines.
 *
 * proxies HOST:PORT...: prints their ports in one line, then reads commands, each of which it answers by `ok`:
 *
 *     I pass | cut fin|rst | cut-after BYTES | drop COUNT | black-hole | hold | release | trickle | refuse | silence
 *
 * It ends when its stdin does. HOST is an address as a number. */
#include "common.h"
#include "proxy.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PROXIES_MAX 16

static int by_name(const void *a, const void *b)
{
    char first[8], second[8];
    snprintf(first, sizeof first, "%d", (*(struct proxy *const *)a)->port);
    snprintf(second, sizeof second, "%d", (*(struct proxy *const *)b)->port);
    return strcmp(first, second);
}

static bool obey(struct proxy *proxy, const char *word, const char *argument)
{
    if (strcmp(word, "pass") == 0)
        proxy_pass(proxy);
    else if (strcmp(word, "cut") == 0)
        proxy_cut(proxy, strcmp(argument, "rst") == 0 ? PROXY_RST : PROXY_FIN);
    else if (strcmp(word, "cut-after") == 0)
        proxy_cut_after(proxy, strtoul(argument, NULL, 10), PROXY_RST);
    else if (strcmp(word, "drop") == 0)
        proxy_drop_replies(proxy, atoi(argument), PROXY_RST);
    else if (strcmp(word, "black-hole") == 0)
        proxy_black_hole(proxy);
    else if (strcmp(word, "hold") == 0 || strcmp(word, "release") == 0)
        proxy_hold_replies(proxy, strcmp(word, "hold") == 0);
    else if (strcmp(word, "trickle") == 0)
        proxy_trickle(proxy, true);
    else if (strcmp(word, "refuse") == 0 || strcmp(word, "silence") == 0)
        proxy_enter(proxy, strcmp(word, "refuse") == 0 ? PROXY_REFUSE : PROXY_SILENCE);
    else
        return false;
    return true;
}

int main(int argc, char **argv)
{
    static struct proxy proxies[PROXIES_MAX];
    struct proxy *sorted[PROXIES_MAX];
    const int count = argc - 1;
    char line[128];

    if (count < 1 || count > PROXIES_MAX)
        die("usage: proxies HOST:PORT...; up to %d", PROXIES_MAX);
    for (int i = 0; i < count; i++) {
        sorted[i] = &proxies[i];
        proxy_start(&proxies[i], "127.0.0.1", 1);
    }
    /* A storage of several nodes numbers them by their names, and all clients have to number them alike: so the ports
     * are given to the servers in the order of their names. Nobody knows the ports yet, so nobody connects. */
    qsort(sorted, (size_t)count, sizeof *sorted, by_name);
    for (int i = 0; i < count; i++) {
        const char *colon = strrchr(argv[1 + i], ':');
        if (!colon)
            die("%s: expected HOST:PORT", argv[1 + i]);
        snprintf(sorted[i]->server, sizeof sorted[i]->server, "%.*s", (int)(colon - argv[1 + i]), argv[1 + i]);
        snprintf(sorted[i]->service, sizeof sorted[i]->service, "%s", colon + 1);
        printf("%d%c", sorted[i]->port, i + 1 < count ? ' ' : '\n');
    }
    fflush(stdout);
    while (fgets(line, sizeof line, stdin)) {
        int number = -1;
        char word[32] = "", argument[32] = "";
        sscanf(line, "%d %31s %31s", &number, word, argument);
        const bool known = number >= 0 && number < count && obey(sorted[number], word, argument);
        puts(known ? "ok" : "error no such command");
        fflush(stdout);
    }
    return 0;
}
