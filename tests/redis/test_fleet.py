"""A mixed fleet: this library, and another that keeps its locks on the same Redis in the layout of the npm package.

Its lock is `SET <prefix>:<key> <random> NX PX <ttl>`, its unlock a script that deletes the key if it still has that
value. The other side is a client of a few lines here, in which nothing is ours.
"""
import json
import secrets

from nodes import Client, Fleet, Started, check, equal, nodes_of, start, until

UNLOCK = 'if redis.call("get", KEYS[1]) == ARGV[1] then return redis.call("del", KEYS[1]) else return 0 end'
TTL = 60000


class Other:
    """A program that uses the other library."""

    def __init__(self, url, prefix='distributed-locks'):
        self.clients = [Client(node) for node in nodes_of(url)]
        self.prefix = prefix
        self.token = secrets.token_hex(16)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for client in self.clients:
            client.__exit__()

    def lock(self, key, ttl=TTL):
        """On how many nodes it got the key."""
        return sum(client.ask('SET', '%s:%s' % (self.prefix, key), self.token, 'NX', 'PX', ttl) == b'OK'
                   for client in self.clients)

    def unlock(self, key, token=None):
        """On how many nodes it removed the key."""
        return sum(client.ask('EVAL', UNLOCK, 1, '%s:%s' % (self.prefix, key), token or self.token)
                   for client in self.clients)

    def values(self, key):
        return [client.ask('GET', '%s:%s' % (self.prefix, key)) for client in self.clients]


def with_fleets(case):
    for options, more in (((), ''), (('--nodes', '3'), '?restart_guard_ms=0')):
        with Started('redis', *options) as redis, Fleet(redis.url + more) as fleet, Other(redis.url) as other:
            case(fleet, other, len(other.clients))


def case_theirs_keeps_us_out():
    def case(fleet, other, nodes):
        equal(other.lock('k'), nodes, 'nodes that the other got the key on')
        done = fleet.expect(75, 'run', '-n', 'k', '--', 'touch', fleet.file('ran'))
        check('held by ' + other.token[:8] in done.err, done)
        status = fleet.status()
        check(status['held'] and status['owner'] == other.token, status)
        check(0 < status['remaining_ms'] <= TTL, status)
        shown = fleet.expect(0, 'list')
        check('k' in shown.out.split(), shown)
        listed = json.loads(fleet.expect(0, 'list', '--json').out)
        check('"k"' in json.dumps(listed), listed)
        # Neither by any owner of ours, nor by theirs, can we release or extend what is not ours.
        for owner in ('m:1:x', other.token):
            fleet.expect(79, 'release', '--owner', owner, 'k')
            fleet.expect(79, 'extend', '--owner', owner, 'k')
        equal(other.values('k'), [other.token.encode()] * nodes, 'values')
        equal(other.unlock('k'), nodes, 'nodes that the other removed the key on')
        fleet.expect(0, 'run', '-n', 'k', '--', 'true')
        until(lambda: other.values('k') == [None] * nodes, 'it is gone from all nodes')
    with_fleets(case)


def case_ours_keeps_them_out():
    def case(fleet, other, nodes):
        process, _ = fleet.hold()
        owner = fleet.status()['owner']
        until(lambda: None not in other.values('k'), 'it is on all nodes')
        equal(other.lock('k'), 0, 'nodes that the other got the key on')
        for token in (other.token, owner):
            equal(other.unlock('k', token), 0, 'nodes that the other removed the key on')
        check(fleet.held(), 'it was removed')
        process.terminate()
        fleet.end(process)
        until(lambda: other.values('k') == [None] * nodes, 'it is gone from all nodes')
        equal(other.lock('k'), nodes, 'nodes that the other got the key on')
    with_fleets(case)


def case_we_wait_for_theirs():
    def case(fleet, other, nodes):
        equal(other.lock('k'), nodes, 'nodes that the other got the key on')
        process = fleet.start('run', '-v', 'k', '--', 'true')
        fleet.wait_until_waiting(process)
        equal(other.unlock('k'), nodes, 'nodes that the other removed the key on')
        equal(fleet.end(process).code, 0, 'exit status')
        until(lambda: other.values('k') == [None] * nodes, 'it is gone from all nodes')
        # Its end comes by itself, too.
        equal(other.lock('k', 300), nodes, 'nodes that the other got the key on')
        fleet.expect(0, 'run', 'k', '--', 'true')
        until(lambda: other.values('k') == [None] * nodes, 'it is gone from all nodes')
    with_fleets(case)


def case_what_we_break_of_theirs_is_gone():
    def case(fleet, other, nodes):
        equal(other.lock('k'), nodes, 'nodes that the other got the key on')
        done = fleet.expect(0, 'break', '--force', 'k')
        check('was held by ' + other.token[:8] in done.out, done)
        # A node that was not needed, and not reached before the command ended, may keep it to its end.
        until(lambda: 2 * other.values('k').count(None) > nodes, 'it is gone from a majority of the nodes')
        fleet.expect(0, 'run', '-n', 'k', '--', 'true')
    with_fleets(case)


def case_a_prefix_of_their_own():
    with Started('redis') as redis, Fleet(redis.url + '?prefix=shop') as fleet, Other(redis.url) as other, \
            Other(redis.url, 'shop') as shop:
        equal(other.lock('k'), 1, 'nodes that the other got the key on')
        fleet.expect(0, 'run', '-n', 'k', '--', 'true')
        equal(shop.lock('k'), 1, 'nodes that the shop got the key on')
        fleet.expect(75, 'run', '-n', 'k', '--', 'true')
        check(until(lambda: fleet.status()['owner'] == shop.token, 'it is held by the shop'), '')


start(__name__)
