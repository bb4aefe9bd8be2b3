/* signals.c - signals as events of a descriptor.
 *
 * Used by take.c, run.c and child.c. */
#include "signals.h"

#include <sys/signalfd.h>
#include <unistd.h>

static const int passed_on[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2};
#define PASSED_ON_COUNT (sizeof passed_on / sizeof *passed_on)

static void read_set(sigset_t *set, bool with_stop)
{
    struct sigaction action;

    sigemptyset(set);
    sigaddset(set, SIGCHLD);
    sigaddset(set, SIGCONT);
    if (with_stop)
        sigaddset(set, SIGTSTP);
    /* What was ignored (nohup, & in a script) is to stay ignored: blocked, it would be read. */
    for (size_t i = 0; i < PASSED_ON_COUNT; i++)
        if (sigaction(passed_on[i], NULL, &action) == 0 && action.sa_handler != SIG_IGN)
            sigaddset(set, passed_on[i]);
}

bool signals_open(struct signals *signals)
{
    struct sigaction action = {.sa_handler = SIG_DFL}, before;
    sigset_t set;

    *signals = (struct signals){.descriptor = -1};
    sigaction(SIGCHLD, &action, &before); /* ignored, it would take the command's exit status away */
    signals->child_ignored = before.sa_handler == SIG_IGN;
    read_set(&set, false);
    signals->descriptor = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    if (signals->descriptor < 0)
        return false;
    sigaddset(&set, SIGTTOU); /* dlock may write to a terminal, and hand it over, from the background */
    sigprocmask(SIG_BLOCK, &set, &signals->before);
    return true;
}

void signals_close(struct signals *signals)
{
    if (signals->descriptor < 0)
        return;
    close(signals->descriptor);
    signals->descriptor = -1;
}

int signals_next(struct signals *signals, bool *ret_by_terminal)
{
    struct signalfd_siginfo info;

    if (read(signals->descriptor, &info, sizeof info) != sizeof info)
        return 0;
    if (ret_by_terminal)
        *ret_by_terminal = info.ssi_code == SI_KERNEL;
    return (int)info.ssi_signo;
}

bool signals_is_passed_on(int signal)
{
    for (size_t i = 0; i < PASSED_ON_COUNT; i++)
        if (passed_on[i] == signal)
            return true;
    return false;
}

void signals_catch_stop(struct signals *signals)
{
    sigset_t set;

    read_set(&set, true);
    if (signalfd(signals->descriptor, &set, 0) < 0)
        return; /* ^Z then stops dlock alone */
    sigprocmask(SIG_BLOCK, &set, NULL);
}

void signals_restore(const struct signals *signals)
{
    struct sigaction ignore = {.sa_handler = SIG_IGN};

    if (signals->child_ignored)
        sigaction(SIGCHLD, &ignore, NULL);
    sigprocmask(SIG_SETMASK, &signals->before, NULL);
}
