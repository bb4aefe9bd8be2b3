/* child.c - the command that runs under the lock: its process group, its terminal, and its end.
 *
 * Called by run.c, always in the main thread. */
#include "child.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define GUARDIAN_STACK 65536

/* A sanitizer of threads cannot follow two processes that share their memory: there, the guardian has a copy. */
#ifdef __SANITIZE_THREAD__
#define GUARDIAN_MEMORY 0
#else
#define GUARDIAN_MEMORY CLONE_VM
#endif

/* ---- guardian ----------------------------------------------------------------------------------------------- */

/* Reads the number of the group, and when nothing more can come, kills it: dlock, which alone holds the other end for
 * longer than the start of the command, is no more. It shares dlock's memory, since a copy of it would cost a short
 * command more than the lock does; so it keeps to bare system calls, which touch nothing there. */
static int guard(void *arg)
{
    const long leash = (long)(intptr_t)arg;
    pid_t group = 0, more;

    syscall(SYS_setsid);
    syscall(SYS_dup3, leash, STDIN_FILENO, 0);
    syscall(SYS_close_range, STDIN_FILENO + 1u, ~0u, 0u);
    syscall(SYS_prctl, PR_SET_NAME, "dlock-guardian");
    if (syscall(SYS_read, STDIN_FILENO, &group, sizeof group) == sizeof group &&
        syscall(SYS_read, STDIN_FILENO, &more, sizeof more) == 0)
        syscall(SYS_kill, -group, SIGKILL);
    syscall(SYS_exit, 0);
    return 0;
}

/* The kernel kills the command itself if dlock is killed; what the command has started is left to the guardian, which
 * is there before the command. If no process can be had for it, the command runs without. */
static void start_guardian(struct child *child)
{
    sigset_t all, before;
    int ends[2];
    char *stack = mmap(NULL, GUARDIAN_STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);

    if (stack == MAP_FAILED)
        return;
    if (pipe2(ends, O_CLOEXEC) != 0) {
        munmap(stack, GUARDIAN_STACK);
        return;
    }
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &before); /* nothing but KILL is to reach it */
    const pid_t pid = clone(guard, stack + GUARDIAN_STACK, GUARDIAN_MEMORY | SIGCHLD, (void *)(intptr_t)ends[0]);
    sigprocmask(SIG_SETMASK, &before, NULL);
    close(ends[0]);
    if (pid > 0) {
        child->guardian = pid;
        child->guardian_stack = stack;
        child->leash = ends[1];
    } else {
        close(ends[1]);
        munmap(stack, GUARDIAN_STACK);
    }
}

/* ---- start -------------------------------------------------------------------------------------------------- */

struct start {
    const struct child *child;
    const struct signals *signals;
    char **arguments, **environment;
    pid_t parent;
    int error; /* memory is shared until exec, so it needs no pipe */
};

/* Runs in the child, in dlock's memory and with its signals blocked: system calls only. */
static int start_in_child(void *arg)
{
    struct start *start = arg;
    const pid_t self = getpid();

    if (!start->child->foreground)
        setpgid(0, 0);
    if (start->child->has_terminal)
        tcsetpgrp(start->child->terminal, self);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != start->parent)
        return 128 + SIGKILL; /* dlock was killed before it could be noticed */
    if (start->child->guardian && write(start->child->leash, &self, sizeof self) != sizeof self)
        return 128 + SIGKILL;
    signals_restore(start->signals);
    execvpe(start->arguments[0], start->arguments, start->environment);
    start->error = errno;
    return 127;
}

/* Is dlock one of several commands of a pipeline? Then the others may need the terminal, and the command gets it when
 * it asks for it. */
static bool is_in_pipeline(void)
{
    struct stat in, out;

    return (fstat(STDIN_FILENO, &in) == 0 && S_ISFIFO(in.st_mode)) ||
           (fstat(STDOUT_FILENO, &out) == 0 && S_ISFIFO(out.st_mode));
}

static bool is_foreground(const struct child *child)
{
    return child->terminal >= 0 && tcgetpgrp(child->terminal) == getpgrp();
}

int child_start(struct child *child, const struct signals *signals, bool foreground, char **arguments,
                char **environment)
{
    struct start start = {child, signals, arguments, environment, getpid(), 0};
    size_t count = 0, size;

    *child = (struct child){.foreground = foreground, .terminal = -1, .leash = -1};
    if (!foreground)
        child->terminal = open("/dev/tty", O_RDWR | O_CLOEXEC);
    child->wants_terminal = !is_in_pipeline();
    child->has_terminal = child->wants_terminal && is_foreground(child);
    while (arguments[count])
        count++;
    size = 256 * 1024 + count * sizeof *arguments; /* execvpe copies the arguments for a script without #! */
    char *stack = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
    if (stack == MAP_FAILED)
        return errno;
    if (!foreground)
        start_guardian(child);
    /* As vfork, but on a stack of its own: dlock goes on when the command has taken over, or could not. */
    pid_t pid = clone(start_in_child, stack + size, CLONE_VM | CLONE_VFORK | SIGCHLD, &start);
    int error = pid < 0 ? errno : start.error;
    munmap(stack, size);
    if (pid > 0)
        child->pid = pid;
    if (error != 0 && pid > 0)
        child_reap(child);
    return error;
}

/* ---- while it runs ------------------------------------------------------------------------------------------ */

void child_signal(const struct child *child, int signal)
{
    if (child->pid)
        kill(child->foreground ? child->pid : -child->pid, signal);
}

enum child_news child_look(const struct child *child, int *ret)
{
    siginfo_t info = {.si_pid = 0};

    if (waitid(P_PID, (id_t)child->pid, &info, WEXITED | WSTOPPED | WNOHANG | WNOWAIT) != 0 || info.si_pid == 0)
        return CHILD_RUNS;
    *ret = info.si_code == CLD_KILLED || info.si_code == CLD_DUMPED ? 128 + info.si_status : info.si_status;
    if (info.si_code != CLD_STOPPED)
        return CHILD_ENDED;
    waitid(P_PID, (id_t)child->pid, &info, WSTOPPED | WNOHANG); /* told once */
    return CHILD_STOPPED;
}

static void take_terminal_back(struct child *child)
{
    if (child->has_terminal && tcgetpgrp(child->terminal) == child->pid)
        tcsetpgrp(child->terminal, getpgrp());
    child->has_terminal = false;
}

static bool continue_waits(void)
{
    sigset_t pending;

    return sigpending(&pending) == 0 && sigismember(&pending, SIGCONT) == 1;
}

/* Stops dlock's whole group, as the terminal would have done if the command were in it. False if the kernel does not
 * let it: nobody is there to continue it. */
static bool stop_own_group(int signal)
{
    sigset_t one;

    sigemptyset(&one);
    sigaddset(&one, signal);
    sigprocmask(SIG_UNBLOCK, &one, NULL);
    kill(0, signal);
    sigprocmask(SIG_BLOCK, &one, NULL);
    return continue_waits();
}

void child_stop_along(struct child *child, int signal)
{
    const bool asks = signal == SIGTTIN || signal == SIGTTOU;

    if (child->terminal < 0 || (signal == SIGSTOP && !child->has_terminal))
        return; /* somebody stopped the command alone: the lock stays held and renewed */
    child->wants_terminal |= asks;
    if (asks && is_foreground(child)) {
        child_continue(child); /* in a pipeline, it gets the terminal now that it asks */
        return;
    }
    take_terminal_back(child);
    if (stop_own_group(signal))
        return;
    if (asks)
        child_signal(child, SIGHUP); /* what the kernel does to stopped groups that nobody can continue */
    child_continue(child);
}

void child_continue(struct child *child)
{
    if (!child->pid)
        return;
    if (child->wants_terminal && is_foreground(child)) {
        tcsetpgrp(child->terminal, child->pid);
        child->has_terminal = true;
    }
    child_signal(child, SIGCONT);
}

/* ---- end ---------------------------------------------------------------------------------------------------- */

void child_reap(struct child *child)
{
    while (waitid(P_PID, (id_t)child->pid, NULL, WEXITED) != 0 && errno == EINTR)
        ;
    take_terminal_back(child);
}

bool child_group_remains(const struct child *child)
{
    return !child->foreground && kill(-child->pid, 0) == 0;
}

void child_close(struct child *child)
{
    if (child->guardian) {
        /* Killed before the leash ends, so that it never comes to kill. */
        kill(child->guardian, SIGKILL);
        while (waitid(P_PID, (id_t)child->guardian, NULL, WEXITED) != 0 && errno == EINTR)
            ;
        close(child->leash);
        munmap(child->guardian_stack, GUARDIAN_STACK);
        child->guardian = 0;
    }
    if (child->terminal >= 0)
        close(child->terminal);
    child->terminal = -1;
}
