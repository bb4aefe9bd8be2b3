"""What a KILL leaves behind: nothing that runs, and no lock for longer than its ttl."""
import os
import random
import signal
import subprocess
import time

from world import World, alive, cases, check, children, equal, main, members, until

# A command that is hard to get rid of: its leader and its child ignore what can be ignored.
STUBBORN = 'trap "" TERM HUP INT; sleep 1000 <&- >&- 2>&- & echo $! > inner; echo $$ > running; wait; sleep 1000'


def case_killed_dlock_takes_the_whole_group_along():
    with World() as w:
        process, pid = w.hold('k', script=STUBBORN)
        inner = w.number('inner')
        equal(sorted(members(pid)), sorted([pid, inner]), 'the group')
        process.kill()
        until(lambda: not alive(pid) and not alive(inner), 'the end of the group')


def case_killed_dlock_takes_a_stopped_command_along():
    with World() as w:
        process, pid = w.hold('k', script=STUBBORN)
        os.killpg(pid, signal.SIGSTOP)
        process.kill()
        until(lambda: not members(pid), 'the end of the group')


def case_killed_process_group_of_dlock_takes_the_command_along():
    with World() as w:
        process, pid = w.hold_in_session('k', script=STUBBORN)
        os.killpg(process.pid, signal.SIGKILL)
        until(lambda: not members(pid), 'the end of the group')


def case_killed_dlock_in_the_foreground_mode_takes_the_command_along():
    with World() as w:
        process, pid = w.hold('k', '--foreground', script='trap "" TERM; echo $$ > running; exec sleep 1000')
        process.kill()
        until(lambda: not alive(pid), 'the end of the command')


def case_killed_guardian_harms_nothing():
    with World() as w:
        process, pid = w.hold()
        guardian = until(lambda: [child for child in children(process.pid) if child != pid], 'a guardian')
        for other in guardian:
            os.kill(other, signal.SIGKILL)
        until(lambda: not any(map(alive, guardian)), 'the end of the guardian')
        check(alive(pid), 'the command was killed')
        process.terminate()
        equal(w.end(process).code, 143, 'exit status')


def case_killed_command():
    with World() as w:
        process, pid = w.hold()
        os.kill(pid, signal.SIGKILL)
        equal(w.end(process).code, 137, 'exit status')
        check(not w.held(), 'the lock is still held')


def case_next_gets_in_when_the_ttl_of_a_killed_holder_is_over():
    with World() as w:
        process, _ = w.hold('k', '-t', '500ms')
        waiter = w.start('run', '-v', 'k', '--', 'sh', '-c', 'exit 9')
        w.wait_until_waiting(waiter)
        process.kill()
        equal(w.end(waiter).code, 9, 'exit status of the next')


def case_killed_waiter_is_not_missed():
    with World() as w:
        process, _ = w.hold()
        waiters = [w.start('run', '-v', 'k', '--', 'sh', '-c', 'exit 9') for _ in range(3)]
        for waiter in waiters:
            w.wait_until_waiting(waiter)
        waiters[0].kill()
        process.terminate()
        equal([w.end(waiter).code for waiter in waiters[1:]], [9, 9], 'exit statuses of the others')


def case_kill_at_random_moments():
    chance = random.Random(20231)
    with World() as w:
        for turn in range(40):
            name = 'running%d' % turn
            process = w.start('run', '-t', '200ms', 'k', '--', 'sh', '-c',
                              'trap "" TERM HUP; sleep 1000 <&- >&- 2>&- & echo $$ > ' + name + '; wait; sleep 1000',
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(chance.random() * (0.012 if turn % 2 else 0.3))
            process.kill()
            process.wait()
            # The command may have been started and killed before it wrote its number; then there is nothing to look at.
            w.expect(0, 'run', 'k', '--', 'true')
            if w.has(name):
                group = w.number(name)
                until(lambda: not members(group), 'the end of the group, turn %d' % turn)  # pylint: disable=cell-var-from-loop
        until(lambda: not any(map(alive, w.here())), 'the end of every process of this test')


def case_kill_of_waiters_and_holders_at_random_moments():
    chance = random.Random(4711)
    with World() as w:
        processes = []
        for turn in range(30):
            processes.append(w.start('run', '-t', '300ms', 'k', '--', 'sh', '-c', 'sleep 0.0%d' % chance.randrange(1, 9)))
            time.sleep(chance.random() * 0.02)
            if chance.random() < 0.6:
                chance.choice(processes).kill()
        codes = {w.end(process).code for process in processes}
        check(codes <= {0, -9}, 'exit statuses %r' % codes)
        w.expect(0, 'run', 'k', '--', 'true')


main(cases(globals()))
