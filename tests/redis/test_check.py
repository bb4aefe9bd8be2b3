"""What `dlock check` warns of: settings and circumstances of Redis nodes that weaken locks."""
import json
import os
import re

from nodes import Client, Fleet, Started, World, check, equal, start, until, write

PERSISTENT = ('--config', 'save 3600 1')


def report(url, code=0):
    """What `dlock check` finds, as JSON; a user reads as many warnings."""
    with Fleet(url) as fleet:
        def check_it(*options):
            done = fleet.dlock('check', *options)
            return 'it votes in' not in done.err and done
        # A guard of a millisecond is over at once, but the age of a node is told in whole seconds.
        told, shown = (until(lambda: check_it(*options), 'all nodes vote') for options in (('--json',), ()))
    for done in (told, shown):
        equal(done.code, code, 'exit status of dlock check\n%r\n' % done)
    found = json.loads(told.out)
    equal(len(re.findall('^warning ', shown.out, re.MULTILINE)), len(found['warnings']), 'warnings in %r' % shown)
    return found


def warnings(url, code=0):
    return report(url, code)['warnings']


def address(url):
    return url.partition('://')[2].partition('?')[0].rpartition('@')[2]


def one(found, *parts):
    """There is exactly one warning, and it has these parts."""
    equal(len(found), 1, 'warnings: %r' % found)
    for part in parts:
        check(part in found[0], '%r is not in %r' % (part, found[0]))


def case_nothing_to_warn_of():
    with Started('redis') as redis:
        equal(warnings(redis.url), [], 'warnings')
        with Fleet(redis.url) as fleet:
            check(re.search('^warnings +none$', fleet.expect(0, 'check').out, re.MULTILINE), 'not said')
    with Started('redis', '--nodes', '3', *PERSISTENT) as redis, Fleet(redis.url) as fleet:
        # They were started just now, so the guard lets nobody in; that is an error, not a warning.
        told = fleet.expect(69, 'check', '--json')
        equal(json.loads(told.out)['warnings'], [], 'warnings')
        check('may have forgotten holds' in told.err, told)


def case_keys_may_be_evicted():
    for policy in ('allkeys-lru', 'volatile-ttl'):
        with Started('redis', '--config', 'maxmemory-policy ' + policy) as redis:
            one(warnings(redis.url), address(redis.url) + ': ', 'maxmemory-policy is ' + policy, 'noeviction')


def case_a_quorum_that_keeps_nothing():
    with Started('redis', '--nodes', '3') as redis:
        found = warnings(redis.url + '?restart_guard_ms=0')
        for each in address(redis.url).split(','):
            check(any(each + ': it keeps nothing on its disk' in text and 'but is off' in text for text in found), found)
        found = warnings(redis.url + '?restart_guard_ms=1')
        equal(len(found), 3, 'warnings: %r' % found)
        check(not any('is off' in text for text in found), found)
    with Started('redis', '--nodes', '3', '--appendfsync', 'everysec') as redis:
        equal(warnings(redis.url + '?restart_guard_ms=1'), [], 'warnings')


def case_an_even_number_of_nodes():
    with Started('redis', '--nodes', '2', *PERSISTENT) as redis:
        one(warnings(redis.url + '?restart_guard_ms=1'), '2 nodes survive the loss of 0, which 1 would as well')
    with Started('redis', '--nodes', '4', *PERSISTENT) as redis:
        one(warnings(redis.url + '?restart_guard_ms=1'), '4 nodes survive the loss of 1, which 3 would as well')


def case_the_guard_is_off():
    with Started('redis', '--nodes', '3', *PERSISTENT) as redis:
        one(warnings(redis.url + '?restart_guard_ms=0'), 'the restart guard is off')


def case_a_node_that_does_not_answer():
    with Started('redis', '--nodes', '3', *PERSISTENT) as redis:
        redis.tell('kill 1')
        one(warnings(redis.url + '?restart_guard_ms=1'), address(redis.url).split(',')[1] + ': ')
        redis.tell('kill')
        with Fleet(redis.url) as fleet:
            fleet.expect(69, 'check')


def case_replicas():
    with Started('redis') as primary:
        port = primary.tell('port 0')
        with Started('redis', '--config', 'replicaof 127.0.0.1 ' + port) as replica:
            with Client(primary.url) as client:
                until(lambda: b'connected_slaves:1' in client.ask('INFO'), 'the replica is connected')
            one(warnings(primary.url), 'it has 1 replica: replication is asynchronous', 'two holders')
            # Locks do not work there; why stands in the warning.
            found = report(replica.url, 69)
            check(not found['ok'], found)
            one(found['warnings'], 'it is a replica of 127.0.0.1: it refuses writes')


def case_a_node_of_a_cluster():
    with Started('redis', '--config', 'cluster-enabled yes') as redis:
        one(warnings(redis.url, 69), 'it is a node of a Redis Cluster')


def case_clocks_apart():
    with World() as world, Started('redis', '--nodes', '2', *PERSISTENT) as right:
        late = write(world.path, 'late', '#!/bin/sh\nLD_PRELOAD=%s LATE_S=100 exec redis-server "$@"\n'
                     % os.environ['LATE'])
        world.shell('chmod +x late')
        with Started('redis', '--server', late, *PERSISTENT) as wrong:
            found = warnings('%s?restart_guard_ms=1 %s' % (right.url, wrong.url))
            one(found, 'the clocks of ', address(wrong.url), ' s apart')
            apart = float(re.search(r'are ([0-9.]+) s apart', found[0])[1])
            check(95 < apart < 105, found)


def case_a_user_who_may_not_ask():
    with Started('redis', '--acl', 'app on >hunter22 ~* &* +@all -info') as redis:
        one(warnings(redis.url.replace('://', '://app:hunter22@')), 'it does not answer INFO, so it could not be checked',
            'NOPERM')
    with Started('redis', '--nodes', '3', '--acl', 'app on >hunter22 ~* &* +@all -config|get') as redis:
        found = warnings(redis.url.replace('://', '://app:hunter22@') + '?restart_guard_ms=1')
        equal(len(found), 3, 'warnings: %r' % found)
        check(all('whether it keeps holds over a restart is not known' in text for text in found), found)


def case_no_password_is_shown():
    with Started('redis', '--password', 'hunter22', '--config', 'maxmemory-policy allkeys-lru') as redis:
        with Fleet(redis.url) as fleet:
            done = fleet.expect(0, 'check')
            check('allkeys-lru' in done.out and 'hunter22' not in done.out + done.err, done)
        for wrong in (redis.url.replace('hunter22', 'hunter23'), redis.url.replace('://', '://nobody')):
            with Fleet(wrong) as fleet:
                done = fleet.dlock('check')
                check(done.code != 0 and 'WRONGPASS' in done.err and 'hunter2' not in done.out + done.err, done)


start(__name__)
