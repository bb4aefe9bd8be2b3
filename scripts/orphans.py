"""orphans - processes that tests leave behind come to this process, which ends them. For scripts/check and mutants."""
import ctypes
import os
import signal
import time

PR_SET_CHILD_SUBREAPER = 36


def adopt():
    """From now on descendants whose parent ends become children of this process."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def of(folder):
    """The children of this process that work in `folder`, or below it: {pid: command}."""
    found = {}
    pids = []
    for task in os.listdir('/proc/self/task'):
        try:
            with open('/proc/self/task/%s/children' % task, encoding='ascii') as file:
                pids += [int(pid) for pid in file.read().split()]
        except OSError:
            continue  # a thread that has just ended
    for pid in pids:
        try:
            where = os.readlink('/proc/%d/cwd' % pid).replace(' (deleted)', '')
            with open('/proc/%d/cmdline' % pid, 'rb') as file:
                command = file.read().replace(b'\0', b' ').decode(errors='replace').strip()
        except OSError:
            continue
        if (where + '/').startswith(folder + '/'):
            found[pid] = command
    return found


def end(folder, grace=0):
    """Ends those that are still there after `grace` seconds, and what they leave in turn; returns their commands."""
    last = time.monotonic() + grace
    while of(folder) and time.monotonic() < last:
        time.sleep(0.05)
    ended = []
    while True:
        found = of(folder)
        if not found:
            return ended
        for pid, command in found.items():
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            ended.append(command)
