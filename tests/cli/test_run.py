"""dlock run: what the command gets, signals, how long the lock is held, and what is said meanwhile."""
import json
import os
import signal
import subprocess

from world import DLOCK, World, alive, cases, check, children, equal, main, members, read, until

PASSED_ON = ('INT', 'TERM', 'HUP', 'QUIT', 'USR1', 'USR2')


def case_environment():
    with World() as w:
        env = dict(w.env, DLOCK_KEY='old', DLOCK_OWNER='old', DLOCK_FENCE='old', DLOCK_TTL_MS='old', OTHER='kept')
        done = w.expect(0, 'run', '-t', '90s', "it's", '--', 'env', env=env)
        found = dict(line.split('=', 1) for line in done.out.splitlines())
        equal(found['DLOCK_KEY'], "it's", 'DLOCK_KEY')
        equal(found['DLOCK_TTL_MS'], '90000', 'DLOCK_TTL_MS')
        equal(len(found['DLOCK_OWNER'].split(':')), 3, 'parts of DLOCK_OWNER')
        check(int(found['DLOCK_FENCE']) > 0, found)
        equal(found['OTHER'], 'kept', 'another variable')
        names = [line.split('=')[0] for line in done.out.splitlines()]
        equal(len(names), len(set(names)), 'variables, each once')


def case_store_goes_on_to_the_command():
    with World() as w:
        del w.env['DLOCK_STORE']
        done = w.expect(0, 'run', '-S', 'sqlite:' + w.file('other.db'), 'k', '--', DLOCK, 'status', 'k')
        check('held by' in done.out, done)


def case_store_goes_on_as_it_was_written():
    with World() as w:
        store = 'sqlite:' + w.file('a%20b.db')
        equal(w.expect(0, 'run', '-S', store, 'k', '--', 'sh', '-c', 'echo "$DLOCK_STORE"').out, store + '\n',
              'DLOCK_STORE of the command')
        check(os.path.exists(w.file('a b.db')), os.listdir(w.path))


def case_store_with_a_password_does_not_go_on():
    with World() as w:
        w.env.update(DLOCK_STORE='several:/before', DLOCK_MODULE_PATH=os.environ['MODULES'])
        for options in (['-S', 'several://user:secret@a'], ['-S', 'several://a', '-S', 'several://user:secret@b']):
            done = w.expect(0, 'run', *options, 'k', '--', 'sh', '-c', 'echo "$DLOCK_STORE"')
            equal((done.out, done.err), ('several:/before\n', ''), 'DLOCK_STORE of the command of ' + ' '.join(options))


def case_fences_grow():
    with World() as w:
        fences = [int(w.expect(0, 'run', 'k', '--', 'sh', '-c', 'echo $DLOCK_FENCE').out) for _ in range(3)]
        equal(fences, sorted(set(fences)), 'fences')


def case_standard_streams_are_the_commands():
    with World() as w:
        data = 'line\n' * 50000
        process = w.start('run', 'k', '--', 'sh', '-c', 'cat; echo error >&2', stdin=subprocess.PIPE)
        out, err = process.communicate(data)
        equal((out == data, err), (True, 'error\n'), 'what went through')


def case_no_other_descriptor_is_inherited():
    with World() as w:
        script = "for f in /proc/$$/fd/*; do readlink $f; done"
        for options in ([], ['--foreground'], ['--max-hold', '1h']):
            process = w.start('run', *options, 'k', '--', 'sh', '-c', script, stdin=subprocess.PIPE)
            out = process.communicate('')[0].splitlines()
            equal([line for line in out if 'pipe:' not in line], [], 'files open in the command')
            equal(len(out), 3, 'descriptors open in the command')


def case_closed_standard_streams():
    with World() as w:
        done = w.shell('dlock run k -- sh -c "ls /proc/\\$\\$/fd > fds" <&- >&- 2>&-; echo $?')
        equal(done.out, '0\n', 'exit status')
        equal(read(w.file('fds')).split(), ['1'], 'descriptors of the command, its redirection aside')
        equal(w.shell('dlock run -v k -- sh -c "echo text" <&- 2>&-').out, 'text\n', 'standard output')
        equal(w.shell('dlock run -n k dlock run -v -n k true >&- 2>&- <&-').code, 75, 'with a message to nobody')
        equal(w.expect(0, 'list').out.count('\n'), 1, 'lines of the list: the store is whole')


def case_nothing_of_dlock_takes_the_place_of_a_closed_stream():
    with World() as w:
        process = w.shell_start('exec dlock run k -- sh -c "echo \\$\\$ > running; exec sleep 1000" <&- >&- 2>&-')
        w.number('running')
        equal([os.readlink('/proc/%d/fd/%d' % (process.pid, number)) for number in range(3)], ['/dev/null'] * 3,
              'descriptors 0 to 2 of dlock')


def case_process_groups():
    with World() as w:
        process, pid = w.hold()
        equal((os.getpgid(pid), members(pid)), (pid, [pid]), 'group of the command')
        process.terminate()
        equal(w.end(process).code, 143, 'exit status')
    with World() as w:
        process, pid = w.hold('k', '--foreground')
        equal(os.getpgid(pid), os.getpgid(process.pid), 'group of the command with --foreground')
        process.terminate()
        equal(w.end(process).code, 143, 'exit status with --foreground')


TRAPS = '''
    for s in INT TERM HUP QUIT USR1 USR2; do trap "echo $s >> got" $s; done
    echo $$ > running
    until test -e stop; do sleep 0.01; done
'''


def case_signals_are_passed_on():
    for options in ([], ['--foreground']):
        with World() as w:
            process, _ = w.hold('k', *options, script=TRAPS)
            for count, name in enumerate(PASSED_ON, 1):
                process.send_signal(getattr(signal, 'SIG' + name))
                until(lambda: w.has('got') and len(read(w.file('got')).split()) == count, name + ' comes')
            equal(read(w.file('got')).split(), list(PASSED_ON), 'signals')
            open(w.file('stop'), 'w').close()
            equal(w.end(process).code, 0, 'exit status of a command that handles them all')


def case_signals_go_to_the_whole_group():
    with World() as w:
        process, pid = w.hold(script='(trap "echo inner > got; exit" USR1; echo $$ > running; while :; do sleep 0.01;'
                                     ' done) & trap : USR1; wait; wait')
        process.send_signal(signal.SIGUSR1)
        equal(w.content('got'), 'inner', 'what a process of the group got')
        w.end(process)


def case_signal_mask_and_dispositions_are_the_callers():
    with World() as w:
        mask = signal.SIGUSR2

        def prepare():
            signal.pthread_sigmask(signal.SIG_BLOCK, [mask])
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
            signal.signal(signal.SIGCHLD, signal.SIG_IGN)

        found = {}
        for name, command in (('with', [DLOCK, 'run', 'k', '--', 'cat', '/proc/self/status']),
                              ('without', ['cat', '/proc/self/status'])):
            done = subprocess.run(command, preexec_fn=prepare, env=w.env, stdout=subprocess.PIPE,
                                  universal_newlines=True, check=True)
            found[name] = [line for line in done.stdout.splitlines() if line.startswith(('SigBlk', 'SigIgn', 'SigCgt'))]
        equal(found['with'], found['without'], 'signals of the command')


def case_background_process_neither_keeps_the_lock_nor_is_ended():
    with World() as w:
        w.expect(0, 'run', 'k', '--', 'sh', '-c', 'sleep 1000 <&- >&- 2>&- & echo $! > left')
        pid = w.number('left')
        check(not w.held(), 'the lock is still held')
        check(alive(pid), 'the process was ended')


def case_nothing_of_dlock_is_left():
    with World() as w:
        process, pid = w.hold()
        started = children(process.pid)
        check(pid in started and len(started) == 2, 'the command and its guardian: %s' % started)
        process.terminate()
        w.end(process)
        until(lambda: not any(map(alive, started)), 'the end of every child of dlock')


def case_lock_is_renewed():
    with World() as w:
        process, _ = w.hold('k', '-t', '1s')
        until(lambda: w.status()['held_ms'] > 1500, 'a hold longer than its ttl')
        process.terminate()
        equal(w.end(process).code, 143, 'exit status')
        check(not w.held(), 'the lock is still held')


def case_waiters_get_in_one_after_the_other():
    with World() as w:
        process, _ = w.hold()
        waiters = [w.start('run', '-v', 'k', '--', 'sh', '-c', 'echo in >> log; sleep 0.01; echo out >> log')
                   for _ in range(4)]
        for waiter in waiters:
            w.wait_until_waiting(waiter)
        check(not w.has('log'), 'a waiter ran while the lock was held')
        process.terminate()
        for waiter in waiters:
            equal(w.end(waiter).code, 0, 'exit status of a waiter')
        equal(read(w.file('log')).split(), ['in', 'out'] * 4, 'the order of what they did')


def case_last_attempt_comes_at_the_end_of_the_wait():
    with World() as w:
        w.expect(0, 'acquire', '-t', '700ms', 'k')
        w.expect(0, 'run', '--wait', '30s', 'k', '--', 'true')
        w.expect(0, 'acquire', '-t', '200ms', 'k')
        w.expect(0, 'run', '--retries', '100', '--interval', '50ms', 'k', '--', 'true')


def case_min_hold():
    with World() as w:
        process = w.start('run', '--min-hold', '1h', 'k', '--', 'sh', '-c', 'echo > ran; exit 4')
        w.content('ran')
        until(lambda: w.status().get('held_ms', 0) > 300, 'the lock held after the end of the command')
        process.terminate()
        equal(w.end(process).code, 4, 'exit status after a signal has ended the hold')
        check(not w.held(), 'the lock is still held')
        script = '%s status --json k > before; exit 0' % DLOCK
        w.expect(0, 'run', '-v', '--min-hold', '300ms', 'k', '--', 'sh', '-c', script)
        check(not w.held(), 'the lock is still held')


def case_min_hold_lasts():
    with World() as w:
        first = w.start('run', '--min-hold', '400ms', 'k', '--', 'sh', '-c', 'date +%s%N')
        second = w.start('run', 'k', '--', 'sh', '-c', 'date +%s%N')
        times = sorted(int(w.end(process).out) for process in (first, second))
        # Whoever came first: if that was the one with --min-hold, the other started so much later.
        if first.args and times[1] - times[0] < 380e6:
            done = w.expect(0, 'run', '--min-hold', '400ms', 'k', '--', 'date', '+%s%N')
            later = int(w.expect(0, 'run', 'k', '--', 'date', '+%s%N').out)
            check(later - int(done.out) > 380e6, (later, done))


def case_min_hold_ends_with_a_signal_to_the_command():
    with World() as w:
        process, _ = w.hold('k', '--min-hold', '1h')
        process.send_signal(signal.SIGINT)
        equal(w.end(process).code, 130, 'exit status')


def case_min_hold_is_not_for_a_command_that_cannot_run():
    with World() as w:
        w.expect(127, 'run', '--min-hold', '1h', 'k', '--', 'no-such-command')


def case_max_hold():
    with World() as w:
        done = w.expect(124, 'run', '--max-hold', '50ms', 'k', '--', 'sleep', '1000')
        check('--max-hold' in done.err, done)
        script = 'trap "echo TERM > got; exit 0" TERM; while :; do sleep 0.01; done'
        w.expect(124, 'run', '--max-hold', '300ms', '--kill-after', '1h', 'k', '--', 'sh', '-c', script)
        check(w.has('got'), 'no TERM came')
        w.expect(3, 'run', '--max-hold', '1h', 'k', '--', 'sh', '-c', 'exit 3')
        check(not w.held(), 'the lock is still held')


def case_max_hold_kills_what_ignores_term():
    with World() as w:
        script = 'trap "" TERM; sleep 1000 & echo $! > left; echo $$ > group; wait; sleep 1000'
        w.expect(124, 'run', '--max-hold', '100ms', '--kill-after', '100ms', 'k', '--', 'sh', '-c', script)
        left, group = w.number('left'), w.number('group')
        until(lambda: not alive(left) and not members(group), 'the end of the whole group')


def case_max_hold_ends_the_group_also_if_the_command_goes_at_once():
    with World() as w:
        script = '(trap "" TERM; echo $$ > group; exec sleep 1000) & until test -s group; do sleep 0.01; done;' \
                 ' echo $! > left; wait'
        w.expect(124, 'run', '--max-hold', '300ms', '--kill-after', '100ms', 'k', '--', 'sh', '-c', script)
        left, group = w.number('left'), w.number('group')
        until(lambda: not alive(left) and not members(group), 'the end of the whole group')


def case_messages():
    with World() as w:
        equal(w.expect(0, 'run', 'k', '--', 'true').err, '', 'messages without -v')
        done = w.expect(0, 'run', '-v', 'k', '--', 'true')
        check("dlock: acquired 'k', fence " in done.err and "dlock: released 'k'" in done.err, done)
        process, _ = w.hold()
        waiter = w.start('run', '-v', 'k', '--', 'true')
        line = w.wait_until_waiting(waiter)
        for part in ("waiting for 'k'", '(pid %d)' % process.pid, ' for ', 'it ends in', 'at most unless it is extended'):
            check(part in line, '%r is not in %r' % (part, line))
        silent = w.start('run', '-w', '50ms', 'k', '--', 'true')
        equal(w.end(silent).err.count('waiting'), 0, 'waiting messages without -v and a terminal')
        process.terminate()
        equal(w.end(waiter).code, 0, 'exit status')


def case_messages_cannot_steer_a_terminal():
    with World() as w:
        key = 'a\x1b[31m\n\u202eb\u0085\x7f'
        done = w.expect(0, 'run', '-v', key, '--', 'true')
        check("'a\\x1b[31m\\n\\u202eb\\u0085\\x7f'" in done.err, done)
        check(all(ord(c) >= 32 and ord(c) != 127 for c in done.err.replace('\n', '')), done)


def events(text):
    return [json.loads(line) for line in text.splitlines()]


def case_json_events():
    with World() as w:
        process, _ = w.hold('k"\n\\é')
        waiter = w.start('run', '--json', 'k"\n\\é', '--', 'true')
        waiting = json.loads(w.wait_until_waiting(waiter))
        equal((waiting['event'], waiting['key'], waiting['hold']['pid']), ('waiting', 'k"\n\\é', process.pid), 'event')
        process.terminate()
        found = events(w.end(waiter).err)
        equal([event['event'] for event in found], ['acquired', 'released'], 'events')
        equal(found[0]['hold']['pid'], waiter.pid, 'pid of the new hold')
        check(found[0]['hold']['fence'] > waiting['hold']['fence'], (found, waiting))
        w.hold('other')
        found = events(w.expect(75, 'run', '-n', '--json', 'other', '--', 'true').err)
        equal([event['event'] for event in found], ['busy'], 'events')
        found = events(w.expect(124, 'run', '--json', '--max-hold', '50ms', 'k', '--', 'sleep', '1000').err)
        equal([event['event'] for event in found], ['acquired', 'max-hold', 'released'], 'events')
        found = events(w.expect(127, 'run', '--json', 'k', '--', 'no-such-command').err)
        equal([event['event'] for event in found], ['acquired', 'error'], 'events')
        check(all(event['message'] for event in found), found)


def case_no_network_library_is_loaded():
    with World() as w:
        process, _ = w.hold()
        loaded = {os.path.basename(line.split()[-1]) for line in read('/proc/%d/maps' % process.pid).splitlines()
                  if '.so' in line}
        known = ('libdlock.', 'libsqlite3.', 'libc.', 'libm.', 'ld-linux', 'libz.', 'libpthread.', 'libdl.', 'libasan.',
                 'libubsan.', 'libtsan.', 'libstdc++.', 'libgcc_s.', 'librt.')
        equal([name for name in loaded if not name.startswith(known)], [], 'libraries nobody expects')
        check(any(name.startswith('libdlock.') for name in loaded), loaded)


main(cases(globals()))
