#!/usr/bin/env python3
"""run.py [OPTION...]: libdlock and dlock beside what one would take instead, on the same servers; `make bench-peers`.

Installs each peer from its registry into build/peers, at the version that requirements.txt, go/go.sum, java/pom.xml and
bindings/node/bench/package-lock.json name; one that cannot be had is skipped with the reason. What is measured goes to
build/peers/results.json, of which report.py makes a table and charts.

A peer is a program, started with its name and the URL of the server. It writes one line of JSON, its `version` and `runtime`; then
it obeys orders, a line each, with one line of JSON:

    pairs SECONDS           acquires and releases one key over and over: the pair's `median_us` and `p99_us`
    callers COUNT SECONDS   the same by so many callers at once, with a key each: pairs `per_second`
    acquire KEY             waits for the key, as the peer's users would: `at_us`, when it got it
    release                 gives it up: `at_us`, just before. All `at_us` of one peer are of the same clock
    waiters COUNT KEY       so many callers begin to wait for a key that is taken

All take a ttl of 30 s. The first pairs and callers are to warm up. Then all peers of a server take turns, several times.
"""
import argparse
import contextlib
import datetime
import glob
import json
import os
import platform
import random
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.parse

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path[:0] = [HERE, os.path.join(ROOT, 'tests', 'servers')]
import report
import server
import with_server

PLACE = os.path.join(ROOT, 'build', 'peers')
PATIENCE = 120  # seconds for one answer; never how long it may take
CALLERS, WAITERS, PROCESSES = 64, 50, 5
SETTLE = 12  # seconds until waiters have asked, subscribed and come to rest; PostgreSQL counts what was done 10 s later

parser = argparse.ArgumentParser(description='Measures libdlock and dlock beside other locks; installs these first.')
parser.add_argument('--build', default=os.path.join(ROOT, 'build', 'release'), help='where libdlock was built by meson')
parser.add_argument('--rounds', type=int, default=7, help='how often all take turns')
parser.add_argument('--seconds', type=float, default=1, help='how long a measure takes')
parser.add_argument('--handovers', type=int, default=40, help='how many of each peer')
parser.add_argument('--only', metavar='REGEX', help='peers whose names match, and ours')
parser.add_argument('--seed', type=int, default=1, help='of the pauses before a hand-over')
options = parser.parse_args()
options.build = os.path.abspath(options.build)


loads = []  # of the machine, at each step


def say(*words):
    loads.append(os.getloadavg()[0])
    print(time.strftime('%H:%M:%S'), *words, file=sys.stderr, flush=True)


# Programs: how each is installed. These return what starts one, and its environment.

def run(*command, **more):
    """Runs a command of an installation; raises Skip with the end of what it says if it fails."""
    if not shutil.which(command[0]):
        raise server.Skip('there is no %s' % command[0])
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
                          universal_newlines=True, **more)
    if done.returncode != 0:
        raise server.Skip('%s: %s' % (' '.join(command[:3]), ' '.join(done.stdout.split())[-300:]))


def install_c():
    program = os.path.join(options.build, 'bench', 'bench_peers_ours')
    if not os.path.exists(program):
        sys.exit('run.py: there is no %s; make bench-peers builds it' % program)
    return [program], {'DLOCK_MODULE_PATH': os.path.join(options.build, 'storages')}


def install_python():
    place = os.path.join(PLACE, 'python')
    run('python3', '-m', 'venv', place)
    run(os.path.join(place, 'bin', 'pip'), 'install', '--quiet', '--requirement', os.path.join(HERE, 'requirements.txt'))
    return [os.path.join(place, 'bin', 'python'), os.path.join(HERE, 'peer.py')], {}


def install_node():
    place, package = os.path.join(PLACE, 'node'), os.path.join(ROOT, 'bindings', 'node')
    os.makedirs(place, exist_ok=True)
    for name in ('package.json', 'package-lock.json'):
        shutil.copy(os.path.join(package, 'bench', name), place)
    quiet = ['--no-audit', '--no-fund']
    run('npm', 'ci', *quiet, cwd=place)
    run('npm', 'install', '--no-save', '--install-links', *quiet, package, cwd=place,
        env={**os.environ, 'DLOCK_BUILD': options.build})
    return ['node', os.path.join(HERE, 'peer.mjs')], {'PEERS_NODE': place}


def install_go():
    program = os.path.join(PLACE, 'go-peer')
    run('go', 'build', '-o', program, '.', cwd=os.path.join(HERE, 'go'))
    return [program], {}


def install_java():
    place = os.path.join(PLACE, 'java')
    run('mvn', '-q', '-B', '-Dpeers.build=' + place, 'compile', cwd=os.path.join(HERE, 'java'))
    return ['java', '-Djava.io.tmpdir=' + FOLDER, '-cp', '%s/classes:%s/lib/*' % (place, place), 'Peer'], {}


def install_command(name):
    def install():
        """Nothing: it comes with the system."""
        if not shutil.which(name):
            raise server.Skip('there is no %s; scripts/install-deps peers gets it' % name)
        return [sys.executable, os.path.join(HERE, 'peer.py')], {}
    install.__name__ = 'install_' + name
    return install


def install_dlock():
    return [sys.executable, os.path.join(HERE, 'peer.py')], {'DLOCK': os.path.join(options.build, 'cli', 'dlock')}


# Servers. Each has a URL, its version, and count(): what it was asked so far.

class Redis(with_server.Started):
    unit = 'commands'
    nodes = 1

    def __init__(self):
        super().__init__('redis', '--nodes', str(self.nodes))
        self.version = 'Redis ' + self.info('server', 'redis_version')[0]

    def info(self, section, field):
        """A field of each node."""
        found = []
        for address in self.url.replace('redis://', '').split(','):
            host, port = address.split(':')
            with socket.create_connection((host, int(port))) as connection, connection.makefile('rb') as answer:
                connection.sendall(b'INFO %s\r\n' % section.encode())
                text = answer.read(int(answer.readline()[1:])).decode()
            found.append(re.search(r'^%s:(\S+)' % field, text, re.MULTILINE)[1])
        return found

    def count(self):
        return sum(map(int, self.info('stats', 'total_commands_processed')))


class Quorum(Redis):
    """Several servers, of which a majority decides."""
    nodes = 5


class PostgreSQL(with_server.Started):
    unit = 'transactions'

    def __init__(self):
        super().__init__('postgresql', '--durable')
        self.version = 'PostgreSQL ' + self.tell('sql SHOW server_version').split()[0]

    def count(self):
        return int(self.tell("sql SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = 'dlock'"))


class ZooKeeper:
    """Not a test's server: it comes with Curator, from the same registry."""
    unit = 'packets'

    def __init__(self):
        command, environment = installed(install_java)
        jar = glob.glob(os.path.join(PLACE, 'java', 'lib', 'zookeeper-[0-9]*.jar'))[0]
        self.version = 'ZooKeeper ' + re.search(r'zookeeper-(.*)\.jar', jar)[1]
        self.process = start(command + ['zookeeper'], environment, 'zookeeper')
        self.url = self.process.stdout.readline().strip()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        stop(self.process)

    def count(self):
        with socket.create_connection(('127.0.0.1', urllib.parse.urlsplit(self.url).port)) as connection:
            connection.sendall(b'mntr')
            with connection.makefile() as answer:
                return int(re.search(r'zk_packets_received\s+(\d+)', answer.read())[1])


class Folder:
    """Files have no server that could be asked; what waiting costs is the processor time of those who wait."""
    unit = 'us of processor time'

    def __init__(self):
        self.url = os.path.join(FOLDER, 'files')
        os.mkdir(self.url)
        self.version = 'files on ' + subprocess.check_output(['stat', '-f', '-c', '%T', self.url],
                                                             universal_newlines=True).strip()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.url)


def processor_time(pids):
    """Microseconds that processes have used so far."""
    used = 0
    for pid in pids:
        for path in glob.glob('/proc/%d/task/*/schedstat' % pid):
            with contextlib.suppress(OSError), open(path, encoding='ascii') as file:
                used += int(file.read().split()[0]) / 1e3
    return used


# The peers. Ours come first of each server.

class Kind:
    def __init__(self, name, server_class, install, ours=False, waits=True, called=None, parameters=''):
        self.name, self.server, self.install, self.ours, self.waits = name, server_class, install, ours, waits
        self.called = called or name  # what its program calls it
        self.parameters = parameters  # of its URL


# Ours do not count a node that started less than a ttl ago; these have just started, and have forgotten nothing.
FRESH = '?restart_guard_ms=0'

PEERS = [
    Kind('libdlock', Redis, install_c, ours=True),
    Kind('distributed-locks for Node', Redis, install_node, ours=True, called='ours'),
    Kind('redlock', Redis, install_node),
    Kind('redis-semaphore', Redis, install_node),
    Kind('redis-py', Redis, install_python),
    Kind('python-redis-lock', Redis, install_python),
    Kind('pottery', Redis, install_python),
    Kind('redsync', Redis, install_go),
    Kind('redislock', Redis, install_go),
    Kind('rueidislock', Redis, install_go),
    Kind('Redisson', Redis, install_java, called='redisson'),
    Kind('ShedLock', Redis, install_java, waits=False, called='shedlock-redis'),
    Kind('libdlock', Quorum, install_c, ours=True, parameters=FRESH),
    Kind('distributed-locks for Node', Quorum, install_node, ours=True, called='ours', parameters=FRESH),
    Kind('redlock', Quorum, install_node),
    Kind('redis-semaphore', Quorum, install_node),
    Kind('pottery', Quorum, install_python),
    Kind('redsync', Quorum, install_go),
    Kind('libdlock', PostgreSQL, install_c, ours=True),
    Kind('ShedLock', PostgreSQL, install_java, waits=False, called='shedlock-jdbc'),
    Kind('Curator', ZooKeeper, install_java, called='curator'),
    Kind('dlock run', Folder, install_dlock, ours=True, called='ours'),
    Kind('flock', Folder, install_command('flock')),
    Kind('lckdo', Folder, install_command('lckdo')),
]

_installed = {}


def installed(install):
    """Installs each kind of program once; the same reason to skip for each peer that needs it."""
    if install not in _installed:
        say('install:', install.__name__.rpartition('_')[2])
        try:
            _installed[install] = install()
        except server.Skip as reason:
            _installed[install] = reason
    if isinstance(_installed[install], server.Skip):
        raise _installed[install]
    return _installed[install]


def start(command, environment, name):
    with open(os.path.join(PLACE, name + '.log'), 'ab') as log:
        return subprocess.Popen(command, env={**os.environ, **environment}, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                stderr=log, universal_newlines=True, bufsize=1,
                                preexec_fn=server.die_with_parent(os.getpid()))


def stop(process):
    """Ends a program with all that it started."""
    server.send(server.family(process.pid), signal.SIGKILL)
    process.wait()
    process.stdin.close()
    process.stdout.close()


class Program:
    """One process of a peer."""

    def __init__(self, kind, url):
        command, environment = installed(kind.install)
        self.name = kind.name
        self.process = start(command + [kind.called, url + kind.parameters], environment, kind.name)
        try:
            self.facts = self.answer()
        except server.Failure:
            stop(self.process)
            raise

    def order(self, *words):
        try:
            self.process.stdin.write(' '.join(map(str, words)) + '\n')
        except BrokenPipeError:
            pass  # its answer will say so

    def answer(self):
        answered, _, _ = select.select([self.process.stdout], [], [], PATIENCE)
        line = self.process.stdout.readline() if answered else ''
        if not line:
            raise server.Failure('%s ended, or gave no answer within %d s; %s has what it said' %
                                 (self.name, PATIENCE, os.path.join(PLACE, self.name + '.log')))
        return json.loads(line)

    def ask(self, *words):
        self.order(*words)
        return self.answer()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        stop(self.process)


# Measures.

class Field:
    """The peers of one server that are measured: what is known of each, and its program, until that fails."""

    def __init__(self, place):
        self.place, self.results, self.programs = place, {}, {}

    def attempt(self, kind, step):
        """Does something with a peer; one that fails is skipped from then on."""
        try:
            self.results[kind].update(step() or {})
        except (server.Skip, server.Failure) as reason:
            say('%s is skipped: %s' % (kind.name, reason))
            self.results[kind]['skipped'] = str(reason)
            self.programs.pop(kind, None)

    def open(self, kind, stack):
        program = self.programs[kind] = stack.enter_context(Program(kind, self.place.url))
        for order in (['pairs', 2 * options.seconds], ['callers', CALLERS, 2 * options.seconds]):
            program.ask(*order)  # warms up
        return program.facts

    def take_turns(self):
        for number in range(options.rounds):
            say('round %d of %d' % (number + 1, options.rounds))
            for order in (['pairs', options.seconds], ['callers', CALLERS, options.seconds]):
                for kind, program in list(self.programs.items()):
                    self.attempt(kind, lambda: self.note(kind, program.ask(*order)))

    def note(self, kind, answer):
        for name, value in answer.items():
            self.results[kind].setdefault(name, []).append(value)

    def wait(self, kind):
        say('waiting:', kind.name)
        with Program(kind, self.place.url) as holder:
            return {**hand_over(kind, self.place.url, holder), 'unit': self.place.unit,
                    'load_together': load(kind, self.place, holder, 1, WAITERS),
                    'load_apart': load(kind, self.place, holder, PROCESSES, 1)}


def hand_over(kind, url, holder):
    """From the release to the grant of a waiter in another process. The pause before is by chance, since those who look in
    intervals would otherwise always be met at the same moment of one. Nothing is read here in between, since whoever is
    woken for that takes the processor from those who are measured."""
    chance = random.Random(options.seed)
    took = []
    with Program(kind, url) as waiter:
        for _ in range(options.handovers + 1):
            holder.ask('acquire', 'hand-over')
            waiter.order('acquire', 'hand-over')
            time.sleep(0.05 + 0.1 * chance.random())
            holder.order('release')
            granted = waiter.answer()['at_us']
            took.append(granted - holder.answer()['at_us'])
            waiter.ask('release')
    return {'handover_us': sorted(took[1:])}  # the first is to warm up


def load(kind, place, holder, processes, count):
    """What so many processes with so many waiters each cause in a second, per waiter."""
    key = 'taken-%d' % processes
    with contextlib.ExitStack() as stack:
        programs = [stack.enter_context(Program(kind, place.url)) for _ in range(processes)]
        holder.ask('acquire', key)
        for program in programs:
            program.ask('waiters', count, key)
        time.sleep(SETTLE)

        def counted():
            if isinstance(place, Folder):
                return processor_time(sum((server.family(program.process.pid)[1:] for program in programs), []))
            return place.count()
        before, begin = counted(), time.monotonic()
        time.sleep(12 * options.seconds)
        caused, took = counted() - before, time.monotonic() - begin
    holder.ask('release')
    return caused / took / processes / count


def measure(place, kinds):
    """All peers of one server; returns what is known of each."""
    field = Field(place)
    with contextlib.ExitStack() as stack:
        for kind in kinds:
            field.results[kind] = {'peer': kind.name, 'ours': kind.ours, 'storage': type(place).__name__,
                                   'server': place.version}
            field.attempt(kind, lambda: field.open(kind, stack))
        field.take_turns()
    # Alone, since some clients have something to say now and then though nobody asks, which would count as a waiter's.
    for kind in list(field.programs):
        if kind.waits:
            field.attempt(kind, lambda: field.wait(kind))
    return list(field.results.values())


def machine():
    with open('/proc/cpuinfo', encoding='utf-8') as file:
        model = re.search(r'^model name\s*:\s*(.*)', file.read(), re.MULTILINE)
    return '%d cores of %s, Linux %s' % (os.cpu_count(), model[1] if model else platform.machine(), platform.release())


def main():
    kinds = [kind for kind in PEERS if kind.ours or not options.only or re.search(options.only, kind.name)]
    results = []
    for server_class in dict.fromkeys(kind.server for kind in kinds):
        here = [kind for kind in kinds if kind.server == server_class]
        for kind in here:
            with contextlib.suppress(server.Skip):
                installed(kind.install)
        try:
            with server_class() as place:
                say('%s: %s' % (place.version, ', '.join(kind.name for kind in here)))
                results += measure(place, here)
        except server.Skip as reason:
            say('%s is skipped: %s' % (server_class.__name__, reason))
            results += [{'peer': kind.name, 'ours': kind.ours, 'storage': server_class.__name__, 'skipped': str(reason)}
                        for kind in here]
    path = os.path.join(PLACE, 'results.json')
    with open(path, 'w', encoding='utf-8') as file:
        json.dump({'date': datetime.date.today().isoformat(), 'machine': machine(),
                   'load': [round(pick(loads), 1) for pick in (min, max)],
                   'rounds': options.rounds, 'seconds': options.seconds, 'handovers': options.handovers,
                   'callers': CALLERS, 'waiters': WAITERS, 'processes': PROCESSES, 'results': results}, file, indent=1)
    report.write(path)


if __name__ == '__main__':
    os.makedirs(PLACE, exist_ok=True)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(1))
    with tempfile.TemporaryDirectory(prefix='dlock-peers-') as FOLDER:
        main()
