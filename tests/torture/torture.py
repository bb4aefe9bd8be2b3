#!/usr/bin/env python3
"""torture STORE: many clients take locks over real servers while faults are injected; a checker judges what happened.

Called by `make torture` and, for a short run of each storage, by meson. STORE is the name of a server that the run
starts for itself (sqlite, redis, redis:3, postgresql, ...: a script of tests/servers, and how many nodes) or the URL of
one that runs already. README.md says how it works and how to read what it prints.
"""
import argparse
import collections
import contextlib
import glob
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
SCRIPTS = os.path.join(HERE, '..', 'servers')
sys.path.insert(0, SCRIPTS)
# pylint: disable=wrong-import-position
import checker
import faults
import packets
import server
from with_server import Started

# What a script of tests/servers needs to hear so that a server keeps its locks over kill -9; and whether it then does.
# A server that is not named here is started as it is, and taken for one that keeps them.
SERVERS = {
    'redis': (['--appendfsync', 'always'], True),
    'redis-quorum': ([], False),  # nodes without a disk: this is what the restart guard is for
    'mongodb': ([], False),       # in memory, where there is no mongod
}
# Stores of several servers that are not alike: options of the script, and how many servers the URL names.
VARIANTS = {
    'postgresql:standby': (['--standby'], 2),
    'postgresql:synchronous': (['--standby', '--synchronous'], 2),
    'postgresql:pooler': (['--pooler'], 1),
}
# What is preloaded into a server, so that faults of its clock and of its disk can be had; see tests/servers. Where faults
# are named only: PostgreSQL syncs its data then, and takes seconds to recover.
PRELOADS = {'redis': ['clock'], 'postgresql': ['clock', 'disk']}
PORTS = {'redis': 6379, 'valkey': 6379, 'postgresql': 5432, 'postgres': 5432, 'mongodb': 27017}
WATCHER = 'w0'  # a client that no fault is aimed at, with a key of its own; see client.c
PATIENCE = 60  # seconds until clients that do not end are a failure


def now_us():
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000


def spawn(words, **options):
    """Starts a process that ends when this one does, however."""
    return subprocess.Popen(words, preexec_fn=server.die_with_parent(os.getpid()), **options)


class Shape:
    """What a run is like; all that a plan may depend on."""

    def __init__(self, options):
        self.name, _, nodes = options.store.partition(':')
        self.variant, variant_nodes = VARIANTS.get(options.store, ([], 1))
        owned = options.store in VARIANTS or re.fullmatch(r'[\w-]+(:\d+)?', options.store)
        self.url = options.store if not owned else None
        if self.url:
            self.name, nodes = self.name.partition('+')[0], ''
        self.label = options.store if not self.url else self.name + ' of the user'  # no password
        self.owned = not self.url and self.name != 'sqlite'
        self.nodes = variant_nodes if self.variant else int(nodes or 1)
        self.words, self.keeps = SERVERS.get(self.name + ('-quorum' if self.nodes > 1 else ''), ([], True))
        if self.nodes > 1 and not self.variant:
            self.words = self.words + ['--nodes', str(self.nodes)]
        self.preloads = PRELOADS.get(self.name, []) if options.only and not self.variant else []
        self.in_file = self.name == 'sqlite'  # whoever is stopped in a transaction keeps all others out
        self.proxied = self.owned or bool(self.url and hosts_of(self.url))
        self.ttl_ms, self.timeout_ms = options.ttl, options.ttl
        self.guard_ms = self.ttl_ms if self.nodes > 1 and not self.keeps else 0
        self.clients = ['c%d' % number for number in range(options.clients)]
        self.runners = ['r%d' % number for number in range(options.runners)]

    def side(self, client):
        """Clients reach the servers by two networks, so that one half can be cut off."""
        return 'ab'[int(client[1:]) % 2]


# ---- the plan ------------------------------------------------------------------------------------------------------


class Step:
    """A fault of the plan: when it begins, how long it lasts, whom it hits."""

    def __init__(self, number, fault, begin_ms, length_ms, drawn):
        self.number, self.fault, self.begin_ms, self.length_ms, self.drawn = number, fault, begin_ms, length_ms, drawn

    def __str__(self):
        drawn = ' '.join('%s=%s' % (name, ','.join(map(str, value)) if isinstance(value, list) else value)
                         for name, value in self.drawn.items())
        return '%7.3f s  %-16s %5d ms  %s' % (self.begin_ms / 1000, self.fault.name, self.length_ms, drawn)


def make_plan(seed, shape, time_ms, only):
    """The same for the same arguments. Each lane goes through its faults in ever new orders: all have their turn."""
    steps = []
    for lane in (faults.CLIENTS, faults.STORAGE):
        chance = random.Random('%s %s %s' % (seed, shape.name, lane))
        table = [fault for fault in faults.FAULTS
                 if fault.lane == lane and fault.applies(shape) and (fault.name in only if only else not fault.named)]
        turn, at = [], 500 + shape.guard_ms
        while table:
            if not turn:
                turn = chance.sample(table, len(table))
            fault = turn.pop()
            drawn = fault.draw(chance, shape)
            length = drawn.pop('ms', None) or int(chance.uniform(*fault.length) * shape.ttl_ms)
            if at + length > time_ms - 500:
                break
            steps.append(Step(len(steps) + 1, fault, at, length, drawn))
            # What follows must not meet the end of this one where the two together are more than either.
            rest = fault.settles(shape, drawn) if lane == faults.STORAGE else 0
            at += length + rest + chance.randint(200, 1500)
    return sorted(steps, key=lambda step: step.begin_ms)


# ---- URLs ----------------------------------------------------------------------------------------------------------


def hosts_of(url):
    """The (host, port) pairs of a URL that a proxy can stand in for; none if it cannot."""
    found = re.match(r'(\w+)://(?:[^@/]*@)?([^/?]+)', url)
    if not found or ' ' in url or found[1] not in PORTS or re.search(r'replicaSet|tls=|ssl', url):
        return []
    hosts = []
    for each in found[2].split(','):
        name, _, port = each.partition(':')
        try:
            hosts.append((socket.getaddrinfo(name, None, socket.AF_INET)[0][4][0], int(port or PORTS[found[1]])))
        except OSError:
            return []
    return hosts


def with_hosts(url, hosts):
    scheme, credentials, rest = re.match(r'(\w+://)([^@/]*@)?[^/?]+(.*)', url).groups()
    return scheme + (credentials or '') + ','.join('%s:%d' % host for host in hosts) + rest


def with_parameter(url, name, value):
    return ' '.join('%s%s%s=%s' % (each, '&' if '?' in each else '?', name, value) for each in url.split())


# ---- what faults act upon ------------------------------------------------------------------------------------------


class Client:
    """A place for one client after the other, each a new process."""

    def __init__(self, name):
        self.name, self.count, self.process, self.stopped = name, 0, None, False

    def who(self):
        return '%s.%d' % (self.name, self.count)


class Proxies:
    """The network of one side: a proxy in front of each server."""

    def __init__(self, program, hosts):
        self.process = spawn([program] + ['%s:%d' % host for host in hosts], stdin=subprocess.PIPE,
                             stdout=subprocess.PIPE, universal_newlines=True)
        self.hosts = [('127.0.0.1', int(port)) for port in self.process.stdout.readline().split()]

    def tell(self, number, word):
        self.process.stdin.write('%d %s\n' % (number, word))
        self.process.stdin.flush()
        answer = self.process.stdout.readline().strip()
        if answer != 'ok':
            raise server.Failure('proxy: %s: %s' % (word, answer))


class World:
    """The run: servers, networks, the resource, clients; and what faults may do to them."""

    def __init__(self, shape, options, folder, stack):
        self.shape, self.options, self.folder, self.stack = shape, options, folder, stack
        self.programs = os.path.join(options.build, 'tests', 'torture')
        self.dlock = os.path.join(options.build, 'cli', 'dlock')
        self.environment = dict(os.environ, DLOCK_MODULE_PATH=os.path.join(options.build, 'storages'))
        self.client_environment = self.preload()
        self.ahead = [0] * shape.nodes  # the clocks of the servers, in seconds
        self.log = os.open(os.path.join(folder, 'nemesis.history'), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self.started, self.file, self.proxies = None, None, {}
        self.burners, self.lockers = [], []  # processes of faults
        self.url = self.serve()
        self.urls = {side: self.url for side in 'ab'}
        if shape.proxied:
            # Named in one order everywhere: a storage of several nodes may number them by their names.
            self.hosts = sorted(hosts_of(self.url), key=lambda host: '%s:%d' % host)
            for side in 'ab':
                self.proxies[side] = Proxies(os.path.join(self.programs, 'proxies'), self.hosts)
                self.urls[side] = with_hosts(self.url, self.proxies[side].hosts)
        self.resource = spawn([os.path.join(self.programs, 'resource'), folder], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE)
        self.resource.stdout.readline()
        if shape.guard_ms:
            # Nodes that were just started have no vote.
            self.note(0, 'fault', 'start', 'scope=all breaks=')
            self.note(0, 'over', 'start', 'settles=%d' % (shape.guard_ms + 500))
        self.end_us = now_us() + options.time * 1000000
        self.clients = {name: Client(name) for name in shape.clients + shape.runners + [WATCHER]}
        for client in self.clients.values():
            self.start(client)

    def library(self, name):
        path = os.path.join(self.options.build, 'tests', 'servers', name + '.so')
        if not os.path.exists(path):  # the loader would go on without
            raise server.Failure('there is no %s: build it first' % path)
        return path

    def numbers(self, name):
        return os.path.join(self.folder, name + '.numbers')

    def preload(self):
        """The environment of clients, whose wall clock can be set, and who can find the disk of their storage full."""
        added = {'LD_PRELOAD': ':'.join(map(self.library, ('clock', 'disk'))),
                 'DLOCK_TEST_DISK_PATH': os.path.join(self.folder, 'locks.db')}
        for name in ('clock', 'disk'):
            added['DLOCK_TEST_' + name.upper()] = self.numbers(name)
            with open(self.numbers(name), 'wb') as file:
                file.write(bytes(2 * server.NUMBER.size))
        return dict(self.environment, **added)

    def serve(self):
        shape = self.shape
        if shape.url:
            url = shape.url
            if hosts_of(url):
                url = with_parameter(url, 'prefix', 'dlock-torture')  # its users have keys of their own
        elif shape.name == 'sqlite':
            self.file = os.path.join(self.folder, 'locks.db')
            url = 'sqlite:' + self.file
        else:
            words = list(shape.words)
            for name in shape.preloads:
                words += ['--' + name, self.library(name)]
            self.started = self.stack.enter_context(Started(shape.name, *words, *shape.variant))
            url = self.started.url
            if shape.guard_ms:
                url = with_parameter(url, 'restart_guard_ms', shape.guard_ms)
        return with_parameter(url, 'timeout_ms', shape.timeout_ms)

    def note(self, hold, word, key, text='', at_us=None):
        """A line of the history."""
        line = '%d nemesis %d %s %s %s %s\n' % (at_us or now_us(), os.getpid(), hold, word, key, ' '.join(text.split()))
        os.write(self.log, line.encode())

    spawn = staticmethod(spawn)

    # Clients.

    def start(self, client):
        client.count += 1
        shape, run = self.shape, client.name.startswith('r')
        words = [os.path.join(self.programs, 'runner' if run else 'client'), client.who(),
                 self.url if client.name == WATCHER else self.urls[shape.side(client.name)], self.folder,
                 str(self.end_us),
                 '%s %s' % (self.options.seed, client.who()), str(self.options.keys), str(shape.ttl_ms),
                 str(shape.timeout_ms)] + ([self.dlock] if run else [])
        with open(os.path.join(self.folder, client.who() + '.stderr'), 'wb') as errors:
            client.process = spawn(words, env=self.client_environment, cwd=self.folder, stdin=subprocess.DEVNULL,
                                   stdout=errors, stderr=errors)

    def pids(self, client):
        """The process; or that of the dlock which it runs, and all below it."""
        family = server.family(client.process.pid)
        return family[1:] if client.name.startswith('r') else family[:1]

    def kill(self, name):
        client = self.clients[name]
        pids = self.pids(client)[:1]
        if pids:
            self.note('-', 'kills', client.who())
            server.send(pids, signal.SIGKILL)
        if not name.startswith('r'):
            client.process.wait()

    def replace(self, name):
        if self.clients[name].process.poll() is not None:
            self.start(self.clients[name])

    def stop(self, name):
        self.clients[name].stopped = True
        server.send(self.pids(self.clients[name]), signal.SIGSTOP)

    def stop_at_write(self, name):
        """Stops this client when it is about to write; another one, if it does not come to that soon. Returns which."""
        names = [name] + [other for other in self.shape.clients if other != name]
        for at, name in enumerate(names):
            server.send([self.clients[name].process.pid], signal.SIGUSR1)
            end = time.monotonic() + self.shape.ttl_ms / 2000
            while time.monotonic() < end:
                for asked in names[:at + 1]:
                    if server.stopped(self.clients[asked].process.pid):
                        self.clients[asked].stopped = True
                        return asked
                time.sleep(0.005)
        return names[0]  # nobody holds anything; who was asked and stops later is not left so

    def go_on(self, name):
        self.clients[name].stopped = False
        server.send(self.pids(self.clients[name]), signal.SIGCONT)

    def look_after(self):
        """Clients that stopped themselves after their time; those that ended and should not have."""
        for client in self.clients.values():
            code = client.process.poll()
            if code is None:
                if not client.stopped and not client.name.startswith('r') and server.stopped(client.process.pid):
                    server.send([client.process.pid], signal.SIGCONT)
            elif now_us() < self.end_us and code != -signal.SIGKILL:
                self.crashed(client, code)
                self.start(client)

    def crashed(self, client, code):
        with open(os.path.join(self.folder, client.who() + '.stderr'), encoding='utf-8', errors='replace') as file:
            self.note('-', 'crashes', client.who(), '# exit code %d: %s' % (code, file.read()[-2000:]))

    @staticmethod
    def end(processes):
        while processes:
            with processes.pop() as process:
                process.kill()

    # Servers and networks.

    def server(self, command):
        try:
            return self.started.tell(command)
        except server.Failure:
            # What the servers have to say of it is gone with their folder otherwise.
            for path in sorted(glob.glob(os.path.join(self.started.tell('folder'), '*.log'))):
                with open(path, encoding='utf-8', errors='replace') as file:
                    print('%s ends with:\n%s' % (path, file.read()[-4000:]), file=sys.stderr)
            raise

    def network(self, sides, nodes, word):
        for side in sides:
            for node in nodes:
                self.proxies[side].tell(node, word)

    def lose_packets(self, sides, nodes, ways):
        packets.lose([self.proxies[side].hosts[node][1] for side in sides for node in nodes], ways)

    def lose_no_packets(self):
        packets.lose_none()

    def say(self, node, question, answer):
        """Sends bytes to a server, past the proxies, and expects an answer."""
        said = self.ask(node, question)
        if not said.startswith(answer):
            raise server.Failure('%r answered %r' % (question, said))

    def ask(self, node, question):
        """The beginning of the answer."""
        with socket.create_connection(self.hosts[node], timeout=10) as connection:
            connection.sendall(question)
            return connection.recv(4096)

    # Clocks and disks.

    def set_clock(self, seconds):
        """Of the clients."""
        server.set_numbers(self.numbers('clock'), seconds)

    def turn_clock(self, node, seconds):
        """Of a server, from where it is."""
        self.ahead[node] += seconds
        self.server('clock %d %+d' % (node, self.ahead[node]))

    def set_disk(self, write, sync):
        """The errno of each write and of each fsync to where the locks are; 0: none."""
        if self.shape.in_file:
            server.set_numbers(self.numbers('disk'), write, sync)
        else:
            self.server('disk 0 %d %d' % (write, sync))

    # The end.

    def wait_for_clients(self):
        end = time.monotonic() + PATIENCE
        for client in self.clients.values():
            while client.process.poll() is None:
                self.look_after()
                if time.monotonic() > end:
                    self.note('-', 'crashes', client.who(), '# it does not end')
                    client.process.kill()
                    client.process.wait()
                time.sleep(0.01)
            if client.process.returncode not in (0, -signal.SIGKILL):
                self.crashed(client, client.process.returncode)

    def wait_for_empty_storage(self):
        """All that is held must end within a ttl of the last client's end."""
        held, end = None, time.monotonic() + self.shape.ttl_ms / 1000 + checker.BOUND_US / 1e6
        while held is None or held and time.monotonic() < end:
            done = subprocess.run([self.dlock, 'list', '--json', '-S', self.url], env=self.environment, check=False,
                                  stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            if done.returncode != 0:
                self.note('-', 'crashes', 'dlock-list', '# ' + done.stderr.decode(errors='replace'))
                return
            held = json.loads(done.stdout.decode())
            time.sleep(0.05)
        for lock in held:
            self.note('-', 'left', lock['key'], 'owner=%s' % lock['owner'])

    def close(self):
        self.end(self.burners)
        self.end(self.lockers)
        for client in self.clients.values():
            if client.process.poll() is None:
                client.process.kill()
                client.process.wait()
        for process in [self.resource] + [proxies.process for proxies in self.proxies.values()]:
            process.stdin.close()
            process.wait()

    def history(self):
        text = []
        for name in os.listdir(self.folder):
            if name.endswith('.history'):
                with open(os.path.join(self.folder, name), encoding='utf-8', errors='replace') as file:
                    text.append(file.read())
        return ''.join(text)


# ---- a run ---------------------------------------------------------------------------------------------------------


class Lane:
    """Faults that come one after the other, also where beginning or ending one takes longer than planned."""

    def __init__(self, steps):
        self.steps, self.running, self.due_ms, self.late_ms = steps, None, None, 0
        self.look_ahead()

    def look_ahead(self):
        self.due_ms = self.steps[0].begin_ms + self.late_ms if self.steps else float('inf')

    def go_on(self, world, elapsed_ms):
        """Begins the next fault, or ends the one that runs. What comes too late to end within the run is left out."""
        if self.running:
            step, self.running = self.running, None
            step.fault.end(world, step.drawn)
            world.note(step.number, 'over', step.fault.name, 'settles=%d' % step.fault.settles(world.shape, step.drawn))
            self.late_ms = max(0, elapsed_ms() - step.begin_ms - step.length_ms)
            self.look_ahead()
            return
        step, fault = self.steps[0], self.steps[0].fault
        self.steps = self.steps[1:]
        if self.due_ms + step.length_ms > world.options.time * 1000 - 500:
            self.look_ahead()
            return
        at_us = now_us()
        fault.begin(world, step.drawn)
        world.note(step.number, 'fault', fault.name, 'scope=%s victims=%s breaks=%s # %s' % (
            fault.scope(world.shape, step.drawn), fault.victims(world.shape, step.drawn), ','.join(fault.breaks),
            step.drawn), at_us)
        self.running, self.due_ms = step, elapsed_ms() + step.length_ms


def carry_out(world, plan):
    """Begins and ends the faults of the plan at their times, and looks after the clients meanwhile."""
    start = now_us()
    lanes = [Lane([step for step in plan if step.fault.lane == name]) for name in (faults.CLIENTS, faults.STORAGE)]

    def elapsed_ms():
        return (now_us() - start) / 1000

    while any(lane.running for lane in lanes) or now_us() < world.end_us:
        lane = min(lanes, key=lambda lane: lane.due_ms)
        if lane.due_ms <= elapsed_ms():
            lane.go_on(world, elapsed_ms)
            continue
        world.look_after()
        until = min(lane.due_ms, max((world.end_us - start) / 1000, elapsed_ms()))
        time.sleep(max(0.001, min(until - elapsed_ms(), 20) / 1000))


@contextlib.contextmanager
def folder_for_history():
    """Gone at the end, also if this process is killed: another one, which waits for that, removes it."""
    folder = os.path.realpath(tempfile.mkdtemp(prefix='dlock-torture-'))
    with subprocess.Popen(['sh', '-c', 'read -r _; until rm -rf "$0"; do sleep 0.1; done', folder],
                          stdin=subprocess.PIPE, start_new_session=True) as remover:
        yield folder
        remover.stdin.close()


def run(options, shape, plan):
    """Returns the history."""
    with contextlib.ExitStack() as stack:
        if any(step.fault.loses_packets for step in plan):
            packets.enter_namespace()
        folder = stack.enter_context(folder_for_history())
        world = World(shape, options, folder, stack)
        stack.callback(world.close)
        carry_out(world, plan)
        world.wait_for_clients()
        world.wait_for_empty_storage()
        world.close()
        text = world.history()
        stack.pop_all().close()
    return text


def report(options, shape, text):
    """Prints the table and the violations; returns what the checker found."""
    start = time.monotonic()
    found = checker.Report(text)
    print('torture %s, seed %s, %d s: %d clients, %d of dlock run, %d keys, ttl up to %d ms'
          % (shape.label, options.seed, options.time, options.clients, options.runners, options.keys, shape.ttl_ms))
    for name, value in found.figures().items():
        print('  %-30s %s' % (name, value))
    print('  faults')
    counts = collections.Counter(fault.name for fault in found.history.faults)
    for fault in faults.FAULTS:
        if counts[fault.name]:
            print('    %-16s %5d   %s' % (fault.name, counts[fault.name], fault.text))
    for (invariant, name), count in sorted(found.explained.items()):
        print('  as documented, under %s: %d times not: %s' % (name, count, checker.INVARIANTS[invariant]))
    for violation in found.violations[:options.most]:
        print('\nviolation: %s: %s' % (violation.invariant, violation.text))
        for line in sorted(set(violation.lines), key=lambda line: line.time):
            print('    ' + line.text)
    if found.violations and options.history:
        print('\nthe history is in %s' % options.history)
    print('%s%d violations, judged in %.1f s' % ('\n' if found.violations else '', len(found.violations),
                                                 time.monotonic() - start))
    return found


class Comments:
    """What is printed to it becomes comments of TAP."""

    def __init__(self, file):
        self.file, self.fresh = file, True

    def write(self, text):
        for line in text.splitlines(keepends=True):
            self.file.write(('# ' if self.fresh else '') + line)
            self.fresh = line.endswith('\n')

    def flush(self):
        self.file.flush()


def print_tap(store, found):
    """One case for each invariant."""
    print('1..%d' % len(checker.INVARIANTS))
    for number, (name, text) in enumerate(checker.INVARIANTS.items(), 1):
        broken = any(violation.invariant == name for violation in found.violations)
        unseen = name == 'unfenced-update' and found.history.overtaken == 0
        print('%s %d - %s: %s%s' % ('not ok' if broken else 'ok', number, store, text,
                                    ' # SKIP no stopped writer was overtaken' if unseen and not broken else ''))


def main():
    parser = argparse.ArgumentParser(description='Tortures a storage; see README.md.')
    parser.add_argument('store', help='sqlite, or a script of tests/servers and how many nodes (redis:3); or a URL')
    parser.add_argument('--build', default=os.path.join(HERE, '..', '..', 'build', 'torture'),
                        help='folder of the build')
    parser.add_argument('--time', type=int, default=60, help='seconds (60)')
    parser.add_argument('--seed', default=None, help='the same seed makes the same plan of faults')
    parser.add_argument('--clients', type=int, default=8, help='processes that use the API (8)')
    parser.add_argument('--runners', type=int, default=2, help='processes that use `dlock run` (2)')
    parser.add_argument('--keys', type=int, default=4, help='(4)')
    parser.add_argument('--ttl', type=int, default=1000, help='the longest ttl, in ms (1000)')
    parser.add_argument('--only', action='append', metavar='FAULT', help='this fault, and others so named')
    parser.add_argument('--most', type=int, default=10, help='so many violations are shown (10)')
    parser.add_argument('--plan', action='store_true', help='print the plan of faults, and do nothing')
    parser.add_argument('--history', metavar='FILE', help='keep the history there')
    parser.add_argument('--judge', metavar='FILE', help='judge a history that was kept, and run nothing')
    parser.add_argument('--tap', action='store_true', help='print TAP: each invariant is a case')
    options = parser.parse_args()
    options.build = os.path.abspath(options.build)
    options.seed = options.seed or str(random.randrange(1 << 32))
    names = [fault.name for fault in faults.FAULTS]
    for name in options.only or []:
        if name not in names:
            parser.error('there is no fault "%s"; expected one of: %s' % (name, ' '.join(names)))
    shape = Shape(options)
    if shape.owned and not os.access(os.path.join(SCRIPTS, shape.name), os.X_OK):
        parser.error('there is no storage "%s"; expected sqlite, a script of tests/servers such as redis or redis:3, '
                     'or a URL' % options.store)
    plan = make_plan(options.seed, shape, options.time * 1000, options.only)
    if options.plan:
        print('\n'.join(map(str, plan)))
        return 0
    try:
        if options.judge:
            with open(options.judge, encoding='utf-8') as file:
                text = file.read()
        else:
            text = run(options, shape, plan)
    except server.Skip as reason:
        print('1..0 # SKIP %s' % reason)
        return 0
    except server.Failure as error:
        print('1..1\nnot ok 1 - %s: servers\n# %s' % (shape.label, error))
        return 1
    if options.history:
        with open(options.history, 'w', encoding='utf-8') as file:
            file.write(text)
    with contextlib.redirect_stdout(Comments(sys.stdout) if options.tap else sys.stdout):
        found = report(options, shape, text)
    if options.tap:
        print_tap(shape.label, found)
    return 1 if found.violations else 0


if __name__ == '__main__':
    sys.exit(main())
