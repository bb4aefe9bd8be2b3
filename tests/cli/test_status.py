"""Exit statuses of dlock, and what it says when it is used wrongly."""
import os
import signal

from world import World, cases, check, equal, main, write

PASSED_ON = ('INT', 'TERM', 'HUP', 'QUIT', 'USR1', 'USR2')


def case_status_of_the_command():
    with World() as w:
        for code in (0, 1, 3, 255):
            w.expect(code, 'run', 'k', '--', 'sh', '-c', 'exit %d' % code)


def case_signal_that_ends_the_command():
    with World() as w:
        for name in ('KILL', 'TERM', 'SEGV', 'USR1'):
            w.expect(128 + getattr(signal, 'SIG' + name), 'run', 'k', '--', 'sh', '-c', 'kill -%s $$' % name)


def case_busy():
    with World() as w:
        w.hold()
        for options, code in ((['-n'], 75), (['--nb'], 75), (['-w', '0'], 75), (['-w50ms'], 75), (['--wait=0.05s'], 75),
                              (['--retries', '1'], 75), (['--retries=2', '--interval', '10ms'], 75),
                              (['-n', '-E', '7'], 7), (['-nE0'], 0), (['--conflict-exit-code', '255', '-n'], 255)):
            done = w.expect(code, 'run', *options, 'k', '--', 'touch', w.file('ran'))
            check("'k' is held by" in done.err and 'pid' in done.err, done)
            equal(w.expect(code, 'run', '-q', *options, 'k', '--', 'true').err, '', 'messages with -q')
            w.expect(code, 'acquire', *options, 'k')
        check(not os.path.exists(w.file('ran')), 'the command ran')


def case_command_not_found_or_not_executable():
    with World() as w:
        done = w.expect(127, 'run', '-t', '1h', 'k', '--', 'no-such-command')
        check("cannot run 'no-such-command'" in done.err, done)
        w.expect(127, 'run', '-t', '1h', 'k', '--', './no-such-file')
        write(w.path, 'plain', 'text')
        done = w.expect(126, 'run', '-t', '1h', 'k', '--', './plain')
        check('Permission denied' in done.err, done)
        check(not w.held(), 'the lock was kept')


def case_script_without_interpreter_line():
    with World() as w:
        write(w.path, 'script', 'exit 5\n')
        w.shell('chmod +x script')
        w.expect(5, 'run', 'k', '--', './script', *['argument'] * 20000)


def case_storage_unavailable():
    with World() as w:
        for url in ('sqlite:/proc/none/locks.db', 'sqlite:' + w.path):
            for command in (['run', '-n', 'k', '--', 'true'], ['run', '--retries', '1', 'k', 'true'],
                            ['run', '-w', '0.05', 'k', 'true'], ['acquire', '-n', 'k'],
                            ['release', '--owner', 'm:1:x', 'k'], ['extend', '--owner', 'm:1:x', 'k'],
                            ['status', 'k'], ['list'], ['break', '--force', 'k'], ['check'], ['check', '--json']):
                done = w.expect(69, command[0], '-S', url, *command[1:])
                check(done.err.startswith('dlock: ') and url in done.err, done)


def case_storage_that_never_answers_ends_an_unbounded_wait():
    with World() as w:
        w.expect(69, 'run', '--interval', '10ms', '-S', 'sqlite:/proc/none/locks.db', 'k', '--', 'true')


USAGE = (
    ([], 'COMMAND is missing'),
    (['--json'], "unknown option '--json'"),
    (['jump'], "unknown command 'jump'; expected run, acquire"),
    (['run'], 'run: KEY is missing'),
    (['run', 'k'], 'run: COMMAND is missing'),
    (['run', 'k', '--'], 'run: COMMAND is missing'),
    (['run', '--', 'k'], 'run: COMMAND is missing'),
    (['run', '--no-such', 'k', 'true'], "unknown option '--no-such'"),
    (['run', '-z', 'k', 'true'], "unknown option '-z'"),
    (['run', '-nz', 'k', 'true'], "unknown option '-z'"),
    (['run', '--force', 'k', 'true'], "unknown option '--force'"),
    (['run', '-w'], '-w (--wait) needs a value: SECS'),
    (['run', '--wait'], '--wait needs a value: SECS'),
    (['run', '--nb=1', 'k', 'true'], "--nb takes no value, but was given '1'"),
    (['run', '--store=', 'k', 'true'], '--store is empty; expected URL'),
    (['run', '-w', '5x', 'k', 'true'], "--wait: '5x' is not a time; expected"),
    (['run', '-w', '', 'k', 'true'], "--wait: '' is not a time; expected"),
    (['run', '-w', '-1', 'k', 'true'], "--wait: '-1' is not a time; expected"),
    (['run', '-w', '1e3', 'k', 'true'], "--wait: '1e3' is not a time; expected"),
    (['run', '-w', '.', 'k', 'true'], "--wait: '.' is not a time; expected"),
    (['run', '-w', '1001h', 'k', 'true'], "--wait: '1001h' is not a time; expected"),
    (['run', '-t', '9ms', 'k', 'true'], "--ttl: '9ms' is out of range; expected 10ms to 1d00h"),
    (['run', '-t', '25h', 'k', 'true'], "--ttl: '25h' is out of range; expected 10ms to 1d00h"),
    (['run', '--max-hold', '0', 'k', 'true'], "--max-hold: '0' is out of range"),
    (['run', '--retries', '0', 'k', 'true'], "--retries: '0' is no such number; expected 1 to 1000000"),
    (['run', '--retries', '2x', 'k', 'true'], "--retries: '2x' is no such number"),
    (['run', '-E', '256', 'k', 'true'], "--conflict-exit-code: '256' is no such number; expected 0 to 255"),
    (['run', '-E', '99999999999999999999', 'k', 'true'], 'expected 0 to 255'),
    (['run', '--on-lost', 'panic', 'k', 'true'], "--on-lost: 'panic' is unknown; expected kill|term|ignore"),
    (['run', '--on-lost', 'kil', 'k', 'true'], "--on-lost: 'kil' is unknown"),
    (['run', '-n', '-w', '1', 'k', 'true'], '--nb and --wait contradict each other'),
    (['run', '-n', '--retries', '1', 'k', 'true'], '--nb and --retries contradict each other'),
    (['run', '-n', '--interval', '1', 'k', 'true'], '--nb and --interval contradict each other'),
    (['acquire', '-w', '1', '--retries', '1', 'k'], '--wait and --retries contradict each other'),
    (['run', '-q', '-v', 'k', 'true'], '--quiet and --verbose contradict each other'),
    (['run', '-q', '--json', 'k', 'true'], '--quiet and --json contradict each other'),
    (['run', '--no-renew', '-t', '1', '--min-hold', '2', 'k', 'true'], '--min-hold is longer than the ttl'),
    (['acquire'], 'KEY is missing'),
    (['acquire', 'k', 'l'], "'l' is too much; expected KEY"),
    (['list', 'a', 'b'], "'b' is too much; expected [PREFIX]"),
    (['check', 'a'], "'a' is too much; expected no argument"),
    (['release', 'k'], 'Give --owner, or DLOCK_OWNER'),
    (['extend', 'k'], 'Give --owner, or DLOCK_OWNER'),
    (['release', '--owner', 'a b', 'k'], 'owner token'),
    (['break', 'k'], 'give --force'),
    (['status', ''], 'key'),
    (['status', 'k' * 513], '512'),
    (['run', '-n', b'\xff', 'true'], 'UTF-8'),
    (['status', '-S', 'nonsense', 'k'], 'nonsense'),
)


def case_wrong_use():
    with World() as w:
        for arguments, text in USAGE:
            done = w.dlock(*[a if isinstance(a, str) else a.decode(errors='surrogateescape') for a in arguments])
            equal((done.code, done.out), (64, ''), 'dlock %r\n%r\n' % (arguments, done))
            check(done.err.startswith('dlock: ') and text in done.err, 'expected %r in %r' % (text, done))
        equal(os.listdir(w.path), [], 'files made by wrong use')


def case_nonsense_ttl_in_the_environment():
    with World() as w:
        for text in ('soon', '0', '5x', '999999999999'):
            done = w.expect(64, 'extend', '--owner', 'm:1:x', 'k', env=dict(w.env, DLOCK_TTL_MS=text))
            check("DLOCK_TTL_MS: '%s' is no ttl; expected 10 to 86400000" % text in done.err, done)


def case_keys_that_look_like_options():
    with World() as w:
        for key, words in (('-k', ['--', '-k', '--', 'sh']), ('-k', ['--', '-k', 'sh']), ('-k', ['-n', '--', '-k', 'sh']),
                           ('--', ['--', '--', '--', 'sh']), ('k', ['k', '-n', 'sh']), ('k', ['k', '-n', '--', 'sh']),
                           ('-', ['-', 'sh']), ('k', ['k', '--', 'sh']), ('k', ['-w5', 'k', 'sh'])):
            equal(w.expect(0, 'run', *words, '-c', 'echo "$DLOCK_KEY"').out, key + '\n', 'key of %r' % words)


def case_waiting_is_interrupted():
    with World() as w:
        w.hold()
        for name in PASSED_ON:
            number = getattr(signal, 'SIG' + name)
            for command in (['run', '-v', 'k', '--', 'touch', w.file('ran')], ['acquire', '-v', 'k'],
                            ['run', '-v', '--retries', '5', '--interval', '1h', 'k', 'touch', w.file('ran')]):
                waiter = w.start(*command)
                w.wait_until_waiting(waiter)
                waiter.send_signal(number)
                done = w.end(waiter)
                equal(done.code, 128 + number, '%s while waiting\n%r' % (name, done))
                check('SIG' + name in done.err, done)
        check(not os.path.exists(w.file('ran')), 'the command ran')


def case_ignored_signals_do_not_interrupt():
    with World() as w:
        holder, _ = w.hold()
        waiter = w.start('run', '-v', 'k', '--', 'true',
                         preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
        w.wait_until_waiting(waiter)
        waiter.send_signal(signal.SIGHUP)
        holder.terminate()
        equal(w.end(waiter).code, 0, 'exit status of a waiter under nohup')


def case_output_that_cannot_be_written():
    with World() as w:
        with open('/dev/full', 'w') as full:
            for command in (['acquire', '-n', '-t', '1h', 'k'], ['list'], ['status', 'k'], ['check'], ['--help'],
                            ['--version']):
                done = w.expect(74, *command, stdout=full)
                check('standard output' in done.err, done)
        equal(w.shell('dlock acquire -n -t 1h k >&-').code, 74, 'acquire with a closed standard output')
        check(not w.held(), 'a lock whose owner nobody knows was kept')


main(cases(globals()))
