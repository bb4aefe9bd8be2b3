"""server - the common part of the scripts here, each of which starts private servers for a test and obeys it.

A script derives a class from Server, says in it what to run and when that answers, and ends with main(). The test reads
one line: the URL, or `skip REASON` where there is no such server, or `error REASON`. Then it may write commands,
each answered by one line, `ok ...` or `error ...`; a number behind a command means that one of several servers:

    start [I], kill [I]     at the same port, in the same folder; start waits until the server answers
    launch [I]              start without waiting
    pause [I], resume [I]   the server and all its processes
    clock [I] +SECONDS      by so much the clock is ahead, for a script with the option --clock
    pid [I], port [I], url [I], folder [I]     without a number: of all; the folder that they share

A method do_NAME of the class is one more command. At the end of stdin, so also when the test dies, and at SIGTERM,
SIGINT or SIGHUP, all that was started is killed and the folder removed.
"""
import ctypes
import os
import pwd
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time

START = os.getcwd()
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PATIENCE = 60  # seconds until a server that does not answer is a failure; never how long a start may take
NUMBER = struct.Struct('q')
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36


class Skip(Exception):
    """Raised while a script sets up: such a server cannot be had here; the text says why."""


class Failure(Exception):
    """What goes to the test as `error ...`."""


def find(program):
    """The path of a server: given as a path, by the name of a folder that scripts/fetch-servers made, or on PATH."""
    if os.sep in program:
        path = os.path.join(START, program)
    else:
        path = shutil.which(program)
        folder = os.path.join(os.environ.get('DLOCK_TEST_SERVERS') or os.path.join(ROOT, 'build', 'servers'), program)
        if os.path.isdir(folder):
            path = os.path.join(folder, 'server')
    if not path or not os.access(path, os.X_OK):
        raise Skip('there is no %s; scripts/install-deps test and scripts/fetch-servers get what can be had' % program)
    return path


def die_with_parent(parent):
    """For preexec_fn: a KILL of this process is one for the new process too."""
    def prepare():
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)
    return prepare


def family(pid):
    """A process and all that descend from it, parents before children."""
    found = [pid]
    for parent in found:
        try:
            for task in os.listdir('/proc/%d/task' % parent):
                with open('/proc/%d/task/%s/children' % (parent, task), encoding='ascii') as file:
                    found += [int(child) for child in file.read().split()]
        except OSError:
            continue  # has just ended
    return found


def stopped(pid):
    try:
        with open('/proc/%d/stat' % pid, encoding='utf-8', errors='replace') as file:
            return file.read().rpartition(')')[2].split()[0] in 'TZX'
    except OSError:
        return True


def send(pids, number):
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            pass


def wait_until(condition, what):
    end = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > end:
            raise Failure('not within %d s: %s' % (PATIENCE, what))
        time.sleep(0.002)


def set_numbers(path, *numbers):
    """Writes what clock.c or disk.c reads."""
    with open(path, 'r+b') as file:  # never cut short: processes have it mapped
        file.write(b''.join(map(NUMBER.pack, numbers)))


class Server:
    """One server: a process, with what descends from it, in a folder and at a port of its own."""
    host = '127.0.0.1'
    user = None  # whom it runs as if the test runs as root; None: root too
    preloads = {}  # a library for each name, made of NAME.c here, whose file NAME of numbers the server then obeys

    def __init__(self, folder, number):
        self.number, self.shared = number, folder
        self.folder = os.path.join(folder, str(number))
        self.log = os.path.join(folder, '%d.log' % number)
        self.process = None
        self.reserve()
        os.mkdir(self.folder, 0o700)
        if self.account():
            os.chmod(folder, 0o711)
            shutil.chown(self.folder, self.user)
            if subprocess.call(['test', '-w', self.folder], **self.account()) != 0:
                raise Failure('%s cannot get to %s; each folder above it needs mode 711' % (self.user, self.folder))
        for name, library in self.preloads.items():
            shutil.copy(library, self.preloaded(name))  # where the user gets to
            with open(self.numbers(name), 'wb') as file:
                file.write(bytes(2 * NUMBER.size))

    # What a script says about its server.

    def prepare(self):
        """Called once, before the first start: makes files, for example."""

    def command(self):
        """The words that start the server in the foreground."""
        raise NotImplementedError

    def ready(self):
        """Whether the server answers; an OSError means that it does not."""
        raise NotImplementedError

    def url(self):
        raise NotImplementedError

    def killed(self):
        """Called after each KILL: removes what is left outside the folder."""

    # What it can use for that.

    def reserve(self):
        """Chooses a port. The socket stays bound, so that nobody else gets the port, also while the server is down.

        Servers set SO_REUSEADDR as well, and so may bind it too and listen there."""
        self.reservation = socket.socket(socket.AF_INET6 if ':' in self.host else socket.AF_INET)
        self.reservation.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            self.reservation.bind((self.host, 0))
        except OSError as error:
            raise Skip('no port at %s: %s' % (self.host, error.strerror)) from error
        self.port = self.reservation.getsockname()[1]

    def preloaded(self, name):
        return os.path.join(self.shared, name + '.so')

    def numbers(self, name):
        return os.path.join(self.folder, name)

    def preloading(self, command):
        """The command, with what is to be preloaded."""
        if not self.preloads:
            return command
        return ['env', 'LD_PRELOAD=' + ':'.join(map(self.preloaded, self.preloads)),
                *('DLOCK_TEST_%s=%s' % (name.upper(), self.numbers(name)) for name in self.preloads), *command]

    def address(self):
        return ('[%s]:%d' if ':' in self.host else '%s:%d') % (self.host, self.port)

    def account(self):
        """The arguments for subprocess that give up the rights of root, where that is asked for."""
        if not self.user or os.geteuid() != 0:
            return {}
        try:
            entry = pwd.getpwnam(self.user)
        except KeyError as error:
            raise Skip('there is no user %s to run the server as' % self.user) from error
        return {'user': entry.pw_uid, 'group': entry.pw_gid, 'extra_groups': []}

    def run(self, *words, **options):
        """Runs a command to its end, as the user and in the folder of the server; returns its output."""
        done = subprocess.run(words, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, universal_newlines=True, check=False,
                              preexec_fn=die_with_parent(os.getpid()), **self.account(), **options)
        if done.returncode != 0:
            raise Failure('%s: exit code %d: %s' % (words[0], done.returncode, done.stdout.strip()[-2000:]))
        return done.stdout

    # Commands.

    def runs(self):
        if self.process and self.process.poll() is not None:
            self.process = None
        return self.process is not None

    def must_run(self):
        if not self.runs():
            raise Failure('server %d does not run' % self.number)

    def do_launch(self):
        if self.runs():
            raise Failure('server %d runs already' % self.number)
        with open(self.log, 'ab') as log:
            self.process = subprocess.Popen(self.command(), cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=subprocess.STDOUT, start_new_session=True,
                                            preexec_fn=die_with_parent(os.getpid()), **self.account())

    def answers(self):
        if not self.runs():
            with open(self.log, encoding='utf-8', errors='replace') as log:
                sys.stderr.write(log.read()[-4000:])
            raise Failure('server %d ended while it started; its log is on stderr' % self.number)
        try:
            return self.ready()
        except OSError:
            return False

    def await_ready(self):
        wait_until(self.answers, 'server %d answers' % self.number)

    def do_kill(self):
        self.must_run()
        self.do_pause()  # so that the family stays as it is
        process, self.process = self.process, None
        pids = family(process.pid)
        send(pids, signal.SIGKILL)
        process.wait()
        for pid in pids[1:]:  # they came to this process when their parent ended
            try:
                os.waitpid(pid, 0)
            except ChildProcessError:
                pass
        self.killed()

    def do_pause(self):
        self.must_run()

        def all_stopped():
            pids = family(self.process.pid)
            send(pids, signal.SIGSTOP)
            return all(map(stopped, pids)) and family(self.process.pid) == pids
        wait_until(all_stopped, 'server %d stops' % self.number)

    def do_resume(self):
        self.must_run()
        send(family(self.process.pid), signal.SIGCONT)

    def do_clock(self, seconds):
        set_numbers(self.numbers('clock'), int(seconds))

    def do_pid(self):
        self.must_run()
        return str(self.process.pid)

    def do_port(self):
        return str(self.port)


def start(servers):
    """All at once."""
    for server in servers:
        server.do_launch()
    for server in servers:
        server.await_ready()


def obey(line, servers, url):
    """Carries out one command; returns what stands behind `ok`."""
    name, *words = line.split() or ['']
    one = None
    if words and words[0].isdigit():
        number = int(words.pop(0))
        if number >= len(servers):
            raise Failure('there is no server %d; their numbers are 0 to %d' % (number, len(servers) - 1))
        one = servers[number]
    chosen = [one] if one else servers
    if not one and name in ('start', 'launch', 'kill'):
        chosen = [server for server in servers if server.runs() == (name == 'kill')]
    if name == 'start':
        return start(chosen)
    if name == 'url':
        return url(chosen)
    if name == 'folder':
        return one.folder if one else servers[0].shared
    if not hasattr(servers[0], 'do_' + name):
        raise Failure('"%s" is not a command' % name)
    return ' '.join(filter(None, [getattr(server, 'do_' + name)(*words) for server in chosen]))


def serve(servers, url):
    print(url(servers), flush=True)
    for line in sys.stdin:
        try:
            answer = 'ok %s' % (obey(line, servers, url) or '')
        except (Failure, OSError) as error:
            answer = 'error ' + ' '.join(str(error).split())
        print(answer.rstrip(), flush=True)


def several(servers):
    """The URLs of several servers of one kind, which differ in the address alone, as one URL."""
    first = servers[0]
    return first.url().replace(first.address(), ','.join(server.address() for server in servers))


def clean_up(servers, folder):
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    for server in servers:
        try:
            server.do_kill()
        except Failure:
            pass  # does not run
    shutil.rmtree(folder, ignore_errors=True)


def main(set_up, url=several):
    """Runs a script. set_up(folder) returns its servers, not started yet; url(servers) is the URL of some of them."""
    try:
        os.setsid()  # what ends the test's process group must not keep this process from cleaning up
    except PermissionError:
        pass  # leads a group already: it was started from a shell
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(0))
    servers = []
    folder = os.path.realpath(tempfile.mkdtemp(prefix='dlock-server-'))
    try:
        os.chdir(folder)
        servers += set_up(folder)
        for server in servers:
            server.prepare()
        start(servers)
        serve(servers, url)
    except Skip as reason:
        print('skip', reason, flush=True)
    except Failure as error:
        print('error', ' '.join(str(error).split()), flush=True)
        sys.exit(1)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # the test is gone
    finally:
        clean_up(servers, folder)
