"""dlock in a terminal: job control as if it were not there, ^C, and what it asks and says there.

The terminal is a pty, and bash in it is the shell with job control.
"""
import os
import pty
import re
import select
import signal
import time

from world import DLOCK, PATIENCE, World, alive, cases, check, equal, main, members, needs, state, until

MARK = 'READY>'


class Terminal:
    """A pty with a program in it, in a session of its own."""

    def __init__(self, w, *command):
        self.seen = ''
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.chdir(w.path)
            os.execve(command[0], list(command), dict(w.env, PS1=MARK, TERM='dumb', HISTFILE='/dev/null',
                                                      PATH=os.path.dirname(DLOCK) + ':' + w.env['PATH']))
        w.others.append(self.pid)

    def close(self):
        os.close(self.fd)
        try:
            os.kill(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        os.waitpid(self.pid, 0)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def type(self, text):
        os.write(self.fd, text.encode())

    def expect(self, pattern):
        """Reads until the pattern comes; returns the match and forgets what was before."""
        end = time.monotonic() + PATIENCE
        while True:
            match = re.search(pattern, self.seen)
            if match:
                self.seen = self.seen[match.end():]
                return match
            check(time.monotonic() < end, 'never seen: %s\n--- the terminal shows\n%s' % (pattern, self.seen))
            if select.select([self.fd], [], [], 0.1)[0]:
                try:
                    self.seen += os.read(self.fd, 65536).decode(errors='replace')
                except OSError:
                    check(False, 'the terminal ended before %s\n--- it shows\n%s' % (pattern, self.seen))

    def exit_status(self):
        _, status = os.waitpid(self.pid, 0)
        self.pid = os.fork()  # something to wait for in close()
        if self.pid == 0:
            os._exit(0)
        return os.waitstatus_to_exitcode(status) if hasattr(os, 'waitstatus_to_exitcode') else status >> 8


class Shell(Terminal):
    """bash with job control; every command line is typed."""

    def __init__(self, w):
        super().__init__(w, needs('bash'), '--norc', '--noprofile', '--noediting', '-i')
        self.expect(MARK)

    def line(self, text):
        """Types a command line and waits for the prompt; returns what came between."""
        self.type(text + '\n')
        self.expect(re.escape(text[-20:]) + r'\r\n')
        return self.rest()

    def stop(self):
        """^Z. A process that has not come to stop yet would still read what is typed next."""
        group = os.tcgetpgrp(self.fd)
        self.type('\x1a')
        self.expect('Stopped')
        until(lambda: all(state(pid) == 'T' for pid in members(group)), 'all of the job is stopped')
        self.rest()

    def bring_back(self):
        """fg; bash names the job before it gives it the terminal, and only then may keys be pressed."""
        self.type('fg\n')
        self.expect(r'fg\r\n.*dlock run[^\n]*\n')
        until(lambda: os.tcgetpgrp(self.fd) != self.pid, 'the job is in the foreground')

    def rest(self):
        """What comes until the next prompt."""
        return self.expect('(?s)^(.*?)' + MARK).group(1).replace('\r', '')


def case_command_reads_the_terminal():
    with World() as w, Shell(w) as shell:
        shell.type('dlock run k -- cat\n')
        shell.expect(r'-- cat\r\n')
        shell.type('hello\n')
        shell.expect(r'hello\r\nhello\r\n')
        shell.type('\x04')
        shell.rest()
        equal(shell.line('echo "status $?"'), 'status 0\n', 'exit status')


def case_interrupt_from_the_keyboard():
    with World() as w, Shell(w) as shell:
        shell.type("dlock run k -- sh -c 'echo begun; exec sleep 1000'\n")
        shell.expect(r'\r\nbegun\r\n')
        shell.type('\x03')
        shell.rest()
        equal(shell.line('echo "status $?"'), 'status 130\n', 'exit status')
        check(not w.held(), 'the lock is still held')


def case_interrupt_that_the_command_handles():
    with World() as w, Shell(w) as shell:
        shell.type("dlock run k -- sh -c 'trap \"echo caught; exit 3\" INT; echo begun; while :; do sleep 0.01; done'\n")
        shell.expect(r'\r\nbegun\r\n')
        shell.type('\x03')
        shell.expect('caught')
        shell.rest()
        equal(shell.line('echo "status $?"'), 'status 3\n', 'exit status')


def case_interrupt_ends_the_script_around_it_too():
    for interpreter in ('sh', 'bash'):
        with World() as w, Shell(w) as shell:
            with open(w.file('script'), 'w', encoding='utf-8') as file:
                file.write("dlock run k -- sh -c 'echo begun; exec sleep 1000'\necho still here\n")
            shell.type(interpreter + ' script\n')
            shell.expect(r'\r\nbegun\r\n')
            shell.type('\x03')
            check('still here' not in shell.rest(), interpreter + ' went on')
            equal(shell.line('echo "status $?"'), 'status 130\n', 'exit status of ' + interpreter)


def case_stop_and_continue():
    with World() as w, Shell(w) as shell:
        shell.type('dlock run -t 1h k -- cat\n')
        shell.expect(r'-- cat\r\n')
        shell.type('one\n')
        shell.expect(r'one\r\none\r\n')
        for turn in range(3):
            shell.stop()
            check('Stopped' in shell.line('jobs'), 'the job is not stopped')
            check(w.held(), 'the lock was released')
            shell.bring_back()
            shell.type('again %d\n' % turn)
            shell.expect(r'again %d\r\nagain %d\r\n' % (turn, turn))
        shell.type('\x04')
        shell.rest()
        equal(shell.line('echo "status $?"'), 'status 0\n', 'exit status')


def case_stop_and_continue_in_the_background():
    with World() as w, Shell(w) as shell:
        os.mkfifo(w.file('go'))
        shell.type("dlock run -t 1h k -- sh -c 'echo begun; read word < go; echo done > end'\n")
        shell.expect(r'\r\nbegun\r\n')
        shell.stop()
        shell.line('bg')
        shell.line('echo word > go')
        equal(w.content('end'), 'done', 'what the command wrote')


def case_stopped_for_longer_than_the_ttl_by_the_keyboard():
    with World() as w, Shell(w) as shell:
        os.mkfifo(w.file('never'))
        shell.type("dlock run -t 300ms k -- sh -c 'echo begun; read word < never; echo went on'\n")
        shell.expect(r'\r\nbegun\r\n')
        shell.stop()
        w.expect(0, 'run', 'k', '--', 'true')
        shell.type('fg\n')
        shell.expect('lost the lock')
        check('went on' not in shell.rest(), 'the command went on')
        equal(shell.line('echo "status $?"'), 'status 79\n', 'exit status')


def case_background_job_that_reads_the_terminal_stops():
    with World() as w, Shell(w) as shell:
        shell.line('dlock run -t 1h k -- cat &')
        until(lambda: 'Stopped' in shell.line('jobs'), 'the job is stopped')
        shell.bring_back()
        shell.type('hello\n')
        shell.expect(r'hello\r\nhello\r\n')
        shell.type('\x04')
        shell.rest()
        equal(shell.line('echo "status $?"'), 'status 0\n', 'exit status')


def case_pipeline_leaves_the_terminal_to_the_others():
    with World() as w, Shell(w) as shell:
        # What reads the terminal is beside dlock; the command under the lock is not, until it asks.
        shell.type("dlock run k -- sh -c 'echo first' | sh -c 'cat; read line < /dev/tty; echo got $line'\n")
        shell.expect(r'\r\nfirst\r\n')
        shell.type('words\n')
        shell.expect('got words')
        shell.rest()
        shell.type("true | dlock run k -- sh -c 'read line < /dev/tty; echo got $line' | cat\n")
        shell.expect(r'\| cat\r\n')
        shell.type('more\n')
        shell.expect('got more')
        shell.rest()


def case_interrupt_and_stop_in_a_pipeline():
    with World() as w, Shell(w) as shell:
        shell.type("dlock run -t 1h k -- sh -c 'echo begun; exec sleep 1000' | cat\n")
        shell.expect(r'\r\nbegun\r\n')
        shell.stop()
        shell.bring_back()
        shell.type('\x03')
        shell.rest()
        until(lambda: not w.held(), 'the end of the lock')


def case_foreground_mode():
    with World() as w, Shell(w) as shell:
        shell.type('dlock run -t 1h --foreground k -- cat\n')
        shell.expect(r'-- cat\r\n')
        shell.type('one\n')
        shell.expect(r'one\r\none\r\n')
        shell.stop()
        shell.bring_back()
        shell.type('two\n')
        shell.expect(r'two\r\ntwo\r\n')
        shell.type('\x03')
        shell.rest()
        equal(shell.line('echo "status $?"'), 'status 130\n', 'exit status')


def case_stop_while_waiting():
    with World() as w, Shell(w) as shell:
        holder, _ = w.hold()
        shell.type('dlock run k -- echo mine\n')
        shell.expect(r"dlock: waiting for 'k', held by \S+ \(pid %d\) for \S+; it ends in \S+ at most" % holder.pid)
        shell.stop()
        shell.bring_back()
        holder.terminate()
        shell.expect(r'mine\r\n')
        shell.rest()


def case_waiting_message_and_interrupt():
    with World() as w, Shell(w) as shell:
        w.hold()
        shell.type('dlock run k -- echo mine\n')
        shell.expect("dlock: waiting for 'k'")
        shell.type('\x03')
        check('SIGINT' in shell.rest(), 'no word about the signal')
        equal(shell.line('echo "status $?"'), 'status 130\n', 'exit status')
        shell.type('dlock run -q -w 100ms k -- echo mine\n')
        shell.expect('echo mine\r\n')
        equal(shell.rest(), '', 'messages with -q')


def case_command_straight_under_a_terminal():
    """Nobody could continue it, so a stop does not stop it for good."""
    with World() as w, Terminal(w, DLOCK, 'run', '-t', '1h', 'k', '--', 'cat') as terminal:
        terminal.type('one\n')
        terminal.expect(r'one\r\none\r\n')
        terminal.type('\x1a')
        terminal.type('two\n')
        terminal.expect(r'two\r\n(\^Z)?(two\r\n)?')
        terminal.type('\x04')
        equal(terminal.exit_status(), 0, 'exit status')


def case_bench_says_what_it_measures():
    with World() as w:
        with Terminal(w, DLOCK, 'bench', '--time', '1h', '--only', 'pair,size') as terminal:
            terminal.expect(r'1 of 2: pair: acquire \+ release, one thread \.\.\.')
            terminal.type('\x03')
            terminal.expect(r'\r\x1b\[K')  # the line is cleared
            equal(terminal.exit_status(), 130, 'exit status')


def case_hangup():
    with World() as w:
        with Terminal(w, DLOCK, 'run', '-t', '1h', 'k', '--', 'sh', '-c', 'echo $$ > running; exec sleep 1000'):
            pid = w.number('running')
        until(lambda: not alive(pid) and not members(pid), 'the end of the command')


def case_break_asks():
    with World() as w:
        w.expect(0, 'acquire', '-t', '1h', 'k')
        for answer, code, held in (('n', 1, True), ('', 1, True), ('yess', 1, True), ('y', 0, False)):
            with Terminal(w, DLOCK, 'break', 'k') as terminal:
                terminal.expect(r'k is held by \S+ \(pid \d+\)[\s\S]*Break the lock\? \[y/N\] ')
                terminal.type(answer + '\n')
                terminal.expect('not broken' if held else 'k: broken, was held by')
                equal(terminal.exit_status(), code, 'exit status after %r' % answer)
            equal(w.held(), held, 'held after %r' % answer)
        with Terminal(w, DLOCK, 'break', 'k') as terminal:
            terminal.expect("'k' is free")
            equal(terminal.exit_status(), 1, 'exit status for a free key')


main(cases(globals()))
