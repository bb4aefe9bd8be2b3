"""dlock run when the lock is lost: the command ends in time, and the exit status says so."""
import json
import os
import signal
import time

from world import DLOCK, World, alive, cases, check, equal, main, members, read, until

STUBBORN = '''
    trap "echo TERM >> got" TERM
    (trap "" TERM HUP; echo started > inner; exec sleep 1000) &
    until test -s inner; do sleep 0.01; done
    echo $$ > running
    while :; do sleep 0.01; done
'''


def case_broken_lock_ends_the_whole_group():
    with World() as w:
        process, pid = w.hold('k', '-t', '2s', script=STUBBORN)
        equal(len(members(pid)) >= 2, True, 'a group of several')
        w.expect(0, 'break', '--force', 'k')
        done = w.end(process)
        equal(done.code, 79, 'exit status\n%r\n' % done)
        check('lost the lock' in done.err and 'no longer holds it' in done.err, done)
        until(lambda: not members(pid), 'the end of the group')


def case_broken_lock_as_events():
    with World() as w:
        process, _ = w.hold('k', '-t', '2s', '--json')
        w.expect(0, 'break', '--force', 'k')
        done = w.end(process)
        found = [json.loads(line)['event'] for line in done.err.splitlines()]
        equal((done.code, found[:2]), (79, ['acquired', 'lost']), 'exit status and events')


def case_exit_status_of_a_command_that_obeys():
    with World() as w:
        process, _ = w.hold('k', '-t', '2s', script='trap "exit 0" TERM; echo $$ > running; while :; do sleep 0.01; done')
        w.expect(0, 'break', '--force', 'k')
        equal(w.end(process).code, 79, 'exit status')


def case_foreground_command_is_ended_too():
    with World() as w:
        process, pid = w.hold('k', '-t', '2s', '--foreground', script='trap "" TERM; echo $$ > running; exec sleep 1000')
        w.expect(0, 'break', '--force', 'k')
        equal(w.end(process).code, 79, 'exit status')
        check(not alive(pid), 'the command is alive')


def case_only_term():
    with World() as w:
        process, pid = w.hold('k', '-t', '2s', '--on-lost', 'term', script=STUBBORN)
        w.expect(0, 'break', '--force', 'k')
        equal(w.content('got'), 'TERM', 'signal')
        time.sleep(0.2)  # a KILL that comes would come at once
        check(alive(pid) and process.poll() is None, 'the command was killed')
        os.killpg(pid, signal.SIGKILL)
        equal(w.end(process).code, 79, 'exit status')


def case_ignored():
    with World() as w:
        script = 'trap "echo TERM > got" TERM; echo $$ > running; until test -e stop; do sleep 0.01; done; exit 6'
        process, _ = w.hold('k', '-t', '1s', '--on-lost', 'ignore', '--json', script=script)
        w.expect(0, 'break', '--force', 'k')
        check(json.loads(process.stderr.readline())['event'] == 'acquired', 'no acquired event')
        equal(json.loads(process.stderr.readline())['event'], 'lost', 'event')
        open(w.file('stop'), 'w').close()
        equal(w.end(process).code, 6, 'exit status')
        check(not w.has('got'), 'the command got a signal')


def case_loss_that_only_the_release_notices():
    with World() as w:
        done = w.expect(79, 'run', 'k', '--', DLOCK, 'break', '--force', 'k')
        check('lost the lock' in done.err, done)
        w.expect(0, 'run', '--on-lost', 'ignore', 'k', '--', DLOCK, 'break', '--force', 'k')


def case_later_holder_is_left_alone():
    with World() as w:
        script = '%s break --force k && %s acquire -t 1h k > other; echo $$ > running; exec sleep 1000' % (DLOCK, DLOCK)
        process, _ = w.hold('k', '-t', '2s', script=script)
        equal(w.end(process).code, 79, 'exit status')
        check(w.status()['owner'] in w.content('other'), 'the lock of a later holder was released')


def case_no_renew_ends_the_command_before_the_ttl():
    with World() as w:
        script = 'trap "date +%s%N > term; exit" TERM; echo $$ > running; while :; do sleep 0.01; done'
        process, _ = w.hold('k', '-t', '1s', '--no-renew', script=script)
        waiter = w.start('run', 'k', '--', 'date', '+%s%N')
        equal(w.end(process).code, 79, 'exit status')
        check(int(w.content('term')) < int(w.end(waiter).out), 'another holder was there before TERM')


def case_no_renew_kills_what_does_not_obey_before_the_next_holder():
    with World() as w:
        script = 'trap "" TERM; echo $$ > running; while :; do date +%s%N > last; sleep 0.005; done'
        process, _ = w.hold('k', '-t', '1s', '--no-renew', '--kill-after', '1h', script=script)
        waiter = w.start('run', 'k', '--', 'date', '+%s%N')
        equal(w.end(process).code, 79, 'exit status')
        began = int(w.end(waiter).out)
        check(not read(w.file('last')).strip() or int(read(w.file('last'))) < began, 'both worked at once')


def case_stopped_for_longer_than_the_ttl():
    with World() as w:
        process, pid = w.hold('k', '-t', '300ms', script='trap "" TERM; echo $$ > running; sleep 1000; sleep 1000')
        process.send_signal(signal.SIGSTOP)
        w.expect(0, 'run', 'k', '--', 'true')  # gets in when the ttl is over
        process.send_signal(signal.SIGCONT)
        equal(w.end(process).code, 79, 'exit status')
        until(lambda: not members(pid), 'the end of the group')


def case_stopped_for_less_than_the_ttl():
    with World() as w:
        process, pid = w.hold('k', '-t', '1h')
        process.send_signal(signal.SIGSTOP)
        until(lambda: open('/proc/%d/stat' % process.pid).read().split()[2] == 'T', 'dlock is stopped')
        process.send_signal(signal.SIGCONT)
        process.terminate()
        equal(w.end(process).code, 143, 'exit status')
        check(not alive(pid), 'the command is alive')


def case_storage_that_hangs():
    """Renewal that gets no answer: the group is gone before the ttl is over, though dlock cannot ask anybody."""
    with World() as w:
        process, pid = w.hold('k', '-t', '1s', script=STUBBORN)
        waiter = w.start('run', '-v', '--wait', '50s', 'k', '--', 'true')
        w.wait_until_waiting(waiter)
        hog = w.shell_start('''exec python3 -c "
import sqlite3, sys
c = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=30)
c.execute('BEGIN EXCLUSIVE')
print('locked', flush=True)
sys.stdin.read()
" "$PWD/locks.db"''', stdin=-1)
        equal(hog.stdout.readline(), 'locked\n', 'the store is locked')
        until(lambda: not members(pid), 'the end of the group')
        check(w.has('got'), 'no TERM came before the KILL')
        hog.kill()
        equal(w.end(process).code, 79, 'exit status')
        equal(w.end(waiter).code, 0, 'exit status of the waiter')


def case_min_hold_ends_when_the_lock_is_lost():
    with World() as w:
        process = w.start('run', '-t', '1s', '--min-hold', '1h', 'k', '--', 'sh', '-c', 'echo > ran; exit 4')
        w.content('ran')
        w.expect(0, 'break', '--force', 'k')
        equal(w.end(process).code, 4, 'exit status')


main(cases(globals()))
