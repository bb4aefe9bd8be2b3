"""faults - what a torture run does to its clients, its networks and its servers: one class for each fault, and the table.

To add a fault: derive a class from Fault, and put it into FAULTS. The plan of a run is drawn from the table by the seed
before the run begins; torture.py carries it out, and hands a World to begin() and end(), which README.md describes.
"""
import errno
import glob
import os
import re
import shutil
import subprocess
import sys

CLIENTS, STORAGE = 'clients', 'storage'  # faults of one lane come one after the other; the lanes run side by side


class Fault:
    """One kind of fault. What it draws is a dictionary of plain values, so that a plan can be printed."""
    name = None      # as in the plan, in the table of the output, and for --only
    text = None      # what happens
    lane = STORAGE
    breaks = ()      # invariants of checker.py that cannot hold under it, as docs/guarantees.md says
    length = (0.2, 1.8)  # in ttls; what is over by itself is short
    # Only where it is named: it breaks so much that others would be judged too leniently beside it.
    named = False
    loses_packets = False  # needs a network namespace of its own; see packets.py

    def applies(self, shape):
        """Whether it can be done to a storage of this shape; see torture.Shape."""
        raise NotImplementedError

    def draw(self, chance, shape):
        """Whom it hits: what begin and end need to know."""
        return {}

    def scope(self, shape, drawn):
        """Who feels it: 'all', 'nobody', or names of clients with commas between."""
        return 'all'

    def victims(self, shape, drawn):
        """For whom it breaks what it breaks."""
        return self.scope(shape, drawn)

    def settles(self, shape, drawn):
        """For how many ms it may be felt after its end, until connections are made anew and requests asked again."""
        return 500

    def begin(self, world, drawn):
        raise NotImplementedError

    def end(self, world, drawn):
        """What ends it; nothing, if it is over by itself."""


# ---- clients -------------------------------------------------------------------------------------------------------


class OfClient(Fault):
    lane = CLIENTS
    runs = True  # also of those that use `dlock run`

    def applies(self, shape):
        return True

    def draw(self, chance, shape):
        return {'client': chance.choice(shape.clients + (shape.runners if self.runs else []))}

    def scope(self, shape, drawn):
        return drawn['client']

    def settles(self, shape, drawn):
        return shape.ttl_ms // 2


class KillClient(OfClient):
    name, text = 'kill-client', 'a client, or a dlock run, is killed at a random moment'
    # Its command is killed by another process, a moment later.
    breaks = ('command',)
    length = (0.05, 0.3)

    def begin(self, world, drawn):
        world.kill(drawn['client'])

    def end(self, world, drawn):
        world.replace(drawn['client'])


class StopClient(OfClient):
    name, text = 'stop-client', 'a client, or a dlock run with its command, is stopped at a random moment beyond its ttl'
    # A command that goes on before dlock does; a client that looks before its keeper does.
    breaks = ('command', 'lost-late', 'lost-untold')
    ttls = (1.1, 2)

    def draw(self, chance, shape):
        least, most = (int(shape.ttl_ms * ttls) for ttls in self.ttls)
        return dict(super().draw(chance, shape), ms=chance.randint(least, most))

    def scope(self, shape, drawn):
        # With the file locked, where the storage is one.
        return 'all' if shape.in_file else drawn['client']

    def victims(self, shape, drawn):
        return drawn['client']

    def begin(self, world, drawn):
        world.stop(drawn['client'])

    def end(self, world, drawn):
        world.go_on(drawn['client'])


class StopWriter(StopClient):
    name, text = 'stop-writer', 'a holder is stopped beyond its ttl between looking at its lock and writing'
    runs = False
    ttls = (2, 3)  # others are to get the key, and to write

    def begin(self, world, drawn):
        drawn['client'] = world.stop_at_write(drawn['client'])


class SetClock(OfClient):
    name, text = 'set-clock', 'the wall clock of all clients and of dlock is set, by up to a day, and back'
    length = (0.1, 0.8)

    def draw(self, chance, shape):
        return {'seconds': chance.choice([-1, 1]) * chance.choice([1, 60, 3600, 86400])}

    def scope(self, shape, drawn):
        return 'nobody'

    def begin(self, world, drawn):
        world.set_clock(drawn['seconds'])

    def end(self, world, drawn):
        world.set_clock(0)


class Starve(Fault):
    name, text = 'starve', 'more busy processes than processors, for everybody on the machine'
    lane = CLIENTS
    breaks = StopClient.breaks

    def applies(self, shape):
        return True

    def draw(self, chance, shape):
        return {'processes': chance.randint(2, 4) * (os.cpu_count() or 1)}

    def begin(self, world, drawn):
        for _ in range(drawn['processes']):
            world.burners.append(world.spawn(['sh', '-c', 'while :; do :; done']))

    def end(self, world, drawn):
        world.end(world.burners)


# ---- networks ------------------------------------------------------------------------------------------------------


class Network(Fault):
    """Of one half of the clients or of all, to some of the nodes."""
    words = None  # what the proxies are told

    def applies(self, shape):
        return shape.proxied

    def draw(self, chance, shape):
        return {'sides': chance.choice([['a'], ['b'], ['a', 'b']]), 'nodes': draw_nodes(chance, shape)}

    def scope(self, shape, drawn):
        if is_minority(shape, drawn):
            return 'nobody'
        return ','.join(client for client in shape.clients + shape.runners if shape.side(client) in drawn['sides'])

    def begin(self, world, drawn):
        for word in self.words:
            world.network(drawn['sides'], drawn['nodes'], word.format(**drawn))

    def end(self, world, drawn):
        world.network(drawn['sides'], drawn['nodes'], 'pass')


def draw_nodes(chance, shape):
    """A minority of the nodes or a majority, one as often as the other; of one node, that one."""
    most = (shape.nodes - 1) // 2
    count = chance.randint(1, most) if most and chance.random() < 0.5 else chance.randint(most + 1, shape.nodes)
    return sorted(chance.sample(range(shape.nodes), count))


def is_minority(shape, drawn):
    return len(drawn['nodes']) * 2 < shape.nodes


class LoseReplies(Network):
    name, text = 'lose-replies', 'requests are carried out, their replies lost, and the connections cut'
    words = ['drop {count}']
    length = (0.1, 0.5)

    def draw(self, chance, shape):
        return dict(super().draw(chance, shape), count=chance.randint(1, 20))


class CutConnections(Network):
    name, text = 'cut-connections', 'every connection is cut'
    words = ['cut {how}']
    length = (0.01, 0.05)

    def draw(self, chance, shape):
        return dict(super().draw(chance, shape), how=chance.choice(['fin', 'rst']))


class CutReply(Network):
    name, text = 'cut-reply', 'a connection is cut in the middle of a reply'
    words = ['cut-after {bytes}']
    length = (0.1, 0.3)

    def draw(self, chance, shape):
        return dict(super().draw(chance, shape), bytes=chance.randint(1, 400))


class Silent(Network):
    """Who has asked during it waits for the answer until its timeout is over, and then again for a new connection."""

    def settles(self, shape, drawn):
        return 500 + 2 * shape.timeout_ms


class DeadConnections(Silent):
    """In the end they are cut: one that idled meanwhile would be found dead by its next request, however late that
    comes, and that one waits for its timeout, which no renewal of a short ttl survives."""

    def end(self, world, drawn):
        super().end(world, drawn)
        world.network(drawn['sides'], drawn['nodes'], 'cut rst')


class HalfOpen(DeadConnections):
    name, text = 'half-open', 'connections stay open, but nothing goes through them any more'
    words = ['black-hole']


class HoldReplies(Silent):
    name, text = 'hold-replies', 'replies are held back, and come late'
    words = ['hold']


class SlowBytes(Network):
    name, text = 'slow-bytes', 'one byte at a time'
    words = ['trickle']


class Refuse(Network):
    name, text = 'refuse', 'connections are cut, and new ones refused'
    words = ['refuse', 'cut rst']


class Unplug(DeadConnections):
    name, text = 'unplug', 'nothing goes through, and connecting does not end: a network that is cut off'
    words = ['silence', 'black-hole']


class Partition(Silent):
    """Unlike with `unplug`, connections live on, and TCP sends again what was lost: requests that were given up long
    since are carried out then."""
    name = 'partition'
    text = 'packets are lost both ways, or only those of requests or of replies; then TCP sends them again'
    named, loses_packets = True, True

    def applies(self, shape):
        return shape.owned

    def draw(self, chance, shape):
        return dict(super().draw(chance, shape), ways=chance.choice([['dport'], ['sport'], ['dport', 'sport']]))

    def begin(self, world, drawn):
        world.lose_packets(drawn['sides'], drawn['nodes'], drawn['ways'])

    def end(self, world, drawn):
        world.lose_no_packets()


# ---- servers -------------------------------------------------------------------------------------------------------


# Where holds are forgotten, or end too early, their keys are granted again; the fence still protects.
FORGOTTEN = ('overlap', 'command', 'late-extend', 'lost-healthy')


class OfServer(Fault):
    def applies(self, shape):
        return shape.owned

    def draw(self, chance, shape):
        return {'nodes': draw_nodes(chance, shape)}

    def scope(self, shape, drawn):
        return 'nobody' if is_minority(shape, drawn) else 'all'


class KillServer(OfServer):
    name, text = 'kill-server', 'a server is killed, and started again with what it had on its disk'
    length = (0.05, 1.5)

    def applies(self, shape):
        return shape.owned and (shape.keeps or shape.nodes > 1)

    def settles(self, shape, drawn):
        # PgBouncer tries a server that was down again after a second.
        return super().settles(shape, drawn) + shape.guard_ms + (1500 if '--pooler' in shape.variant else 0)

    def begin(self, world, drawn):
        for node in drawn['nodes']:
            world.server('kill %d' % node)

    def end(self, world, drawn):
        for node in drawn['nodes']:
            world.server('start %d' % node)


class ForgetServer(KillServer):
    name, text = 'forget-server', 'a server is killed, and started again with nothing'
    breaks = FORGOTTEN

    def applies(self, shape):
        return shape.owned and shape.nodes == 1 and (shape.name == 'redis' or not shape.keeps)

    def end(self, world, drawn):
        for path in glob.glob(os.path.join(world.server('folder 0'), 'appendonly*')):
            shutil.rmtree(path) if os.path.isdir(path) else os.unlink(path)
        super().end(world, drawn)


class StopServer(OfServer):
    name, text = 'stop-server', 'a server is stopped, often beyond the ttl, and goes on'

    def draw(self, chance, shape):
        return dict(super().draw(chance, shape), ms=chance.randint(shape.ttl_ms // 2, shape.ttl_ms * 2))

    def begin(self, world, drawn):
        for node in drawn['nodes']:
            world.server('pause %d' % node)

    def end(self, world, drawn):
        for node in drawn['nodes']:
            world.server('resume %d' % node)


class FailOver(OfServer):
    name, text = 'fail-over', 'the primary is killed, and the standby, which had confirmed each commit, promoted'
    length = (0.05, 0.5)
    synchronous = True

    def applies(self, shape):
        return '--standby' in shape.variant and ('--synchronous' in shape.variant) == self.synchronous

    def draw(self, chance, shape):
        return {}

    def scope(self, shape, drawn):
        return 'all'

    def settles(self, shape, drawn):
        # Whoever was about to connect to the server that was gone tries the other one after a part of the timeout.
        return 500 + shape.timeout_ms

    def begin(self, world, drawn):
        self.look_who_is_primary(world, drawn)
        world.server('kill %d' % drawn['primary'])

    def end(self, world, drawn):
        world.server('promote %d' % drawn['standby'])
        world.server('follow %d' % drawn['primary'])

    @staticmethod
    def look_who_is_primary(world, drawn):
        roles = world.server('role').split()
        drawn.update(primary=roles.index('primary'), standby=roles.index('standby'))


class FailOverLate(FailOver):
    name, text = 'fail-over-late', 'an asynchronous standby hangs, the primary is killed, and the standby promoted'
    # What was committed while it hung never was: holds and releases. The numbers go on behind those that were drawn.
    breaks = ('overlap', 'command', 'late-extend', 'stale', 'resend-refused', 'lost-healthy')
    length = (0.2, 1.8)
    synchronous = False

    def begin(self, world, drawn):
        self.look_who_is_primary(world, drawn)
        world.server('pause %d' % drawn['standby'])

    def end(self, world, drawn):
        world.server('kill %d' % drawn['primary'])
        # Going on it would still read what the kernel has for it.
        world.server('kill %d' % drawn['standby'])
        world.server('start %d' % drawn['standby'])
        super().end(world, drawn)


class KillPooler(OfServer):
    name, text = 'kill-pooler', 'PgBouncer is killed and started again; the server goes on'
    length = (0.05, 0.5)

    def applies(self, shape):
        return '--pooler' in shape.variant

    def draw(self, chance, shape):
        return {}

    def scope(self, shape, drawn):
        return 'all'

    def begin(self, world, drawn):
        world.server('kill 1')

    def end(self, world, drawn):
        world.server('start 1')


class FlushScripts(OfServer):
    name, text = 'flush-scripts', 'SCRIPT FLUSH on every node'
    length = (0.01, 0.05)

    def applies(self, shape):
        return shape.owned and shape.name == 'redis'

    def draw(self, chance, shape):
        return {'nodes': list(range(shape.nodes))}

    def scope(self, shape, drawn):
        return 'nobody'

    def begin(self, world, drawn):
        for node in drawn['nodes']:
            world.say(node, b'SCRIPT FLUSH\r\n', b'+OK')


class Forgetting(OfServer):
    """Of a server that goes on. One node of several is enough where a hold has no more than a majority."""
    breaks = FORGOTTEN
    named = True

    def applies(self, shape):
        return shape.owned and shape.name == 'redis'

    def victims(self, shape, drawn):
        return 'all'


class FlushAll(Forgetting):
    name, text = 'flush-all', 'FLUSHALL'
    length = (0.01, 0.05)

    def begin(self, world, drawn):
        for node in drawn['nodes']:
            world.say(node, b'FLUSHALL\r\n', b'+OK')


class Evict(Forgetting):
    name, text = 'evict', 'allkeys-lru and a full memory: other keys push out those of the locks'
    room, pieces, size = 1 << 20, 600, 8192  # several times the room, since keys are thrown out by samples

    def begin(self, world, drawn):
        for node in drawn['nodes']:
            used = int(re.search(br'used_memory:(\d+)', world.ask(node, b'INFO memory\r\n'))[1])
            world.say(node, b'CONFIG SET maxmemory-policy allkeys-lru maxmemory %d\r\n' % (used + self.room), b'+OK')
            for piece in range(self.pieces):
                world.say(node, b'SET filler-%d %s\r\n' % (piece, b'x' * self.size), b'+OK')

    def end(self, world, drawn):
        for node in drawn['nodes']:
            world.say(node, b'CONFIG SET maxmemory-policy noeviction maxmemory 0\r\n', b'+OK')
            world.say(node, b'UNLINK %s\r\n' % b' '.join(b'filler-%d' % piece for piece in range(self.pieces)), b':')


class ServerClock(OfServer):
    length = (0.05, 0.2)
    direction, most_s = None, None  # ahead or back, and by how much

    def applies(self, shape):
        return shape.owned and 'clock' in shape.preloads

    def draw(self, chance, shape):
        return dict(super().draw(chance, shape), seconds=chance.randint(1, self.most_s))

    def victims(self, shape, drawn):
        return 'all'

    def begin(self, world, drawn):
        for node in drawn['nodes']:
            world.turn_clock(node, self.direction * drawn['seconds'])


class ClockAhead(ServerClock):
    name, text = 'clock-ahead', 'the clock of a server jumps ahead, by more than a ttl, and stays so'
    # Leases end at once.
    breaks = FORGOTTEN
    direction, most_s = 1, 3600


class ClockBack(ServerClock):
    name, text = 'clock-back', 'the clock of a server is set back by a few seconds, and stays so'
    # Leases last longer by that: who had lost one can find it there, and extend it.
    breaks = ('stale', 'resend-refused')
    direction, most_s = -1, 3

    def settles(self, shape, drawn):
        return super().settles(shape, drawn) + drawn['seconds'] * 1000


class Disk(Fault):
    """Of clients where the storage is a file, else of the server."""
    numbers = None  # of each write and of each fsync

    def applies(self, shape):
        return shape.in_file and not shape.url or shape.owned and 'disk' in shape.preloads

    def settles(self, shape, drawn):
        return 500 + shape.timeout_ms

    def begin(self, world, drawn):
        world.set_disk(*self.numbers)

    def end(self, world, drawn):
        world.set_disk(0, 0)


class DiskFull(Disk):
    name, text = 'disk-full', 'nothing more can be written: there is no space (ENOSPC)'
    numbers = (errno.ENOSPC, 0)


class DiskBroken(Disk):
    name, text = 'disk-broken', 'every write and every fsync fails (EIO)'
    numbers = (errno.EIO, errno.EIO)


class SyncFails(Disk):
    name, text = 'sync-fails', 'what is written is there, but every fsync fails (EIO)'
    numbers = (0, errno.EIO)


class LockFile(Fault):
    name, text = 'lock-file', 'another program keeps the file locked'
    program = ('import sqlite3, sys; file = sqlite3.connect(sys.argv[1], timeout=60, isolation_level=None); '
               'file.execute("BEGIN IMMEDIATE"); sys.stdin.read()')

    def applies(self, shape):
        return shape.in_file and not shape.url

    def begin(self, world, drawn):
        # A process of its own: it may have to wait for a client that is stopped while it has the file locked.
        world.lockers.append(world.spawn([sys.executable, '-c', self.program, world.file],
                                         stdin=subprocess.PIPE))

    def end(self, world, drawn):
        world.end(world.lockers)


FAULTS = [KillClient(), StopClient(), StopWriter(), SetClock(), Starve(),
          LoseReplies(), CutConnections(), CutReply(), HalfOpen(), HoldReplies(), SlowBytes(), Refuse(), Unplug(),
          Partition(),
          KillServer(), ForgetServer(), StopServer(), FailOver(), FailOverLate(), KillPooler(),
          FlushScripts(), FlushAll(), Evict(), ClockAhead(), ClockBack(), DiskFull(), DiskBroken(), SyncFails(), LockFile()]
