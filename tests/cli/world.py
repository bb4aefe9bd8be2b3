"""world - what the tests of the command share: a store of their own, real processes, and waiting for conditions.

The command is the program in $DLOCK. A case works within `with World() as w`, which ends whatever it left running.
"""
import json
import os
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..'))
from tap import Folder, Skip, check, equal, main, needs, read, write  # pylint: disable=unused-import

DLOCK = os.environ['DLOCK']
# Whoever started the tests may ignore some signals, as nohup does; what the tests start is to begin like from a shell.
for each in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
    if signal.getsignal(each) is signal.SIG_IGN:
        signal.signal(each, signal.SIG_DFL)

PATIENCE = 30  # seconds until a condition that does not come is a failure; never how long something may take


def until(condition, what):
    """Waits until the condition holds, and returns what it gave."""
    end = time.monotonic() + PATIENCE
    while True:
        value = condition()
        if value:
            return value
        check(time.monotonic() < end, 'never happened: ' + what)
        time.sleep(0.005)


def state(pid):
    """The state letter of a process, '' if there is none."""
    try:
        return read('/proc/%d/stat' % pid).rpartition(')')[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ''


def alive(pid):
    return state(pid) not in ('', 'Z', 'X')


def members(group):
    """The processes of a process group that are alive."""
    found = []
    for name in os.listdir('/proc'):
        if name.isdigit():
            try:
                fields = read('/proc/%s/stat' % name).rpartition(')')[2].split()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if int(fields[2]) == group and fields[0] not in 'ZX':
                found.append(int(name))
    return found


def children(parent):
    """The processes whose parent is this one."""
    found = []
    for name in os.listdir('/proc'):
        if name.isdigit():
            try:
                if int(read('/proc/%s/stat' % name).rpartition(')')[2].split()[1]) == parent:
                    found.append(int(name))
            except (FileNotFoundError, ProcessLookupError):
                continue
    return found


class Done:
    """How a process ended."""

    def __init__(self, code, out, err):
        self.code, self.out, self.err = code, out, err

    def __repr__(self):
        return 'exit status %s\n--- out\n%s--- err\n%s---' % (self.code, self.out, self.err)


class World:
    """A temporary folder, a store in it, and the processes of one case."""

    def __enter__(self):
        self.folder = Folder()
        self.path = self.folder.__enter__()
        self.env = {name: value for name, value in os.environ.items() if not name.startswith('DLOCK_')}
        self.env['DLOCK_STORE'] = 'sqlite:' + self.file('locks.db')
        self.started = []
        self.others = []
        return self

    def __exit__(self, *problem):
        for process in self.started:
            if process.poll() is None:
                process.kill()
                process.wait()
        for pid in self.others + self.here():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.folder.__exit__(*problem)

    def here(self):
        """The processes that work in the folder, as all do that the commands of a case start."""
        found = []
        for name in os.listdir('/proc'):
            try:
                if name.isdigit() and os.readlink('/proc/%s/cwd' % name) == self.path:
                    found.append(int(name))
            except OSError:
                pass
        return found

    def file(self, name):
        return os.path.join(self.path, name)

    def has(self, name):
        """Is there a line in this file yet?"""
        try:
            return read(self.file(name)).endswith('\n')
        except FileNotFoundError:
            return False

    def content(self, name):
        until(lambda: self.has(name), name + ' is written')
        return read(self.file(name)).rstrip('\n')

    def number(self, name):
        """A process id that the command wrote into a file; killed at the end of the case."""
        pid = int(self.content(name))
        self.others.append(pid)
        return pid

    def start(self, *arguments, **options):
        """Starts dlock; its output goes to pipes unless options say otherwise."""
        settings = dict(stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=self.path,
                        env=self.env, universal_newlines=True)
        settings.update(options)
        process = subprocess.Popen([DLOCK] + [str(a) for a in arguments], **settings)
        self.started.append(process)
        return process

    def end(self, process, patience=PATIENCE):
        out, err = process.communicate(timeout=patience)
        return Done(process.returncode, out, err)

    def dlock(self, *arguments, **options):
        """Runs dlock to its end."""
        return self.end(self.start(*arguments, **options))

    def expect(self, code, *arguments, **options):
        done = self.dlock(*arguments, **options)
        equal(done.code, code, 'exit status of dlock %s\n%r\n' % (' '.join(map(str, arguments)), done))
        return done

    def shell_start(self, script, **options):
        """Starts a shell script in which `dlock` is the program under test."""
        settings = dict(stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=self.path,
                        env=dict(self.env, PATH=os.path.dirname(DLOCK) + ':' + self.env['PATH']),
                        universal_newlines=True)
        settings.update(options)
        process = subprocess.Popen(['sh', '-c', script], **settings)
        self.started.append(process)
        return process

    def shell(self, script, **options):
        return self.end(self.shell_start(script, **options))

    def hold(self, key='k', *options, script='echo $$ > running; exec sleep 1000'):
        """Starts `dlock run` with a command that stays, and returns both once the command runs."""
        if self.has('running'):
            os.unlink(self.file('running'))
        process = self.start('run', *options, key, '--', 'sh', '-c', script)
        return process, self.number('running')

    def hold_in_session(self, key, **options):
        """The same in a session, and a process group, of its own."""
        process = self.start('run', key, '--', 'sh', '-c', options['script'], start_new_session=True)
        return process, self.number('running')

    def status(self, key='k'):
        done = self.dlock('status', '--json', key)
        check(done.code in (0, 1), repr(done))
        return json.loads(done.out)

    def held(self, key='k'):
        return self.status(key)['held']

    def wait_until_waiting(self, process):
        """Until a `dlock run -v` or --json says that it waits; returns that line."""
        line = process.stderr.readline()
        check('waiting' in line, 'expected a waiting message, found %r' % line)
        return line


def cases(names):
    """The functions case_... of a module, for main()."""
    return [(name[5:].replace('_', ' '), case) for name, case in names.items() if name.startswith('case_')]
