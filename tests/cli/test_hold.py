"""dlock acquire, release, extend, status, list, break, check: locks that outlive a command, and looking at them."""
import json
import re

from world import World, cases, check, equal, main


def case_acquired_lock_is_for_eval():
    with World() as w:
        done = w.shell('''
            set -e
            eval "$(dlock acquire -t 1h "it's a 'key' \\$HOME")"
            printf '%s\\n' "$DLOCK_KEY" "$DLOCK_TTL_MS" "$DLOCK_FENCE"
            env | grep -c '^DLOCK_OWNER=.'
            dlock status "$DLOCK_KEY" | grep -c 'ttl 1h00m'
            dlock extend "$DLOCK_KEY"
            dlock status "$DLOCK_KEY" | grep -c 'ttl 1h00m'
            dlock extend -t 2h "$DLOCK_KEY"
            dlock status "$DLOCK_KEY" | grep -c 'ttl 2h00m'
            dlock release "$DLOCK_KEY"
            dlock status "$DLOCK_KEY"
        ''')
        lines = done.out.splitlines()
        equal(lines[:2], ["it's a 'key' $HOME", '3600000'], 'key and ttl\n%r\n' % done)
        check(int(lines[2]) > 0, done)
        equal(lines[3:], ['1', '1', '1', '1', "it's a 'key' $HOME: free"], 'the rest\n%r\n' % done)
        equal((done.code, done.err), (1, ''), 'exit status of status, and messages')


def case_acquire_as_json():
    with World() as w:
        done = w.expect(0, 'acquire', '--json', '-t', '30s', 'k')
        hold = json.loads(done.out)
        equal((hold['key'], hold['ttl_ms'], done.out.count('\n')), ('k', 30000, 1), 'key, ttl and lines')
        equal(w.status()['owner'], hold['owner'], 'owner')
        equal(w.status()['fence'], hold['fence'], 'fence')
        done = w.expect(0, 'extend', '--json', '--owner', hold['owner'], 'k')
        equal((json.loads(done.out)['extended'], json.loads(done.out)['ttl_ms']), (True, 10000), 'extended, ttl')
        done = w.expect(0, 'release', '--json', '--owner', hold['owner'], 'k')
        equal(json.loads(done.out), {'key': 'k', 'released': True}, 'released')


def case_default_ttl():
    with World() as w:
        hold = json.loads(w.expect(0, 'acquire', '--json', 'k').out)
        equal(hold['ttl_ms'], 10000, 'ttl')


def case_acquire_waits():
    with World() as w:
        process, _ = w.hold()
        waiter = w.start('acquire', '-v', 'k')
        w.wait_until_waiting(waiter)
        process.terminate()
        done = w.end(waiter)
        check(done.code == 0 and "export DLOCK_KEY='k'" in done.out, done)


def case_only_the_owner_releases_and_extends():
    with World() as w:
        owner = json.loads(w.expect(0, 'acquire', '--json', '-t', '1h', 'k').out)['owner']
        for command in ('release', 'extend'):
            for other in ('somebody', owner[:-1] + ('0' if owner[-1] != '0' else '1')):
                done = w.expect(79, command, '--owner', other, 'k')
                check('no longer, held' in done.err, done)
        equal(w.status()['owner'], owner, 'owner')
        w.expect(0, 'release', '--owner', owner, 'k')
        w.expect(79, 'release', '--owner', owner, 'k')
        w.expect(79, 'extend', '--owner', owner, 'k')
        check(not w.held(), 'an extend brought the lock back')


def case_owner_option_goes_before_the_environment():
    with World() as w:
        owner = json.loads(w.expect(0, 'acquire', '--json', '-t', '1h', 'k').out)['owner']
        w.expect(0, 'release', '--owner', owner, 'k', env=dict(w.env, DLOCK_OWNER='somebody'))


def case_command_extends_its_own_lock():
    with World() as w:
        done = w.shell('dlock run -t 1h k -- sh -c "dlock extend -t 2h k; dlock status k"')
        check(done.code == 0 and 'ttl 2h00m' in done.out, done)


def case_status():
    with World() as w:
        equal(w.expect(1, 'status', 'k').out, 'k: free\n', 'status of a free key')
        equal(json.loads(w.expect(1, 'status', '--json', 'k').out), {'key': 'k', 'held': False}, 'as JSON')
        process, _ = w.hold()
        out = w.expect(0, 'status', 'k').out
        check(re.match(r'k: held by \S+ \(pid %d\) for \S+, expires in \d\S*, ttl 10\.0s, fence \d+\n$' % process.pid, out),
              out)
        found = json.loads(w.expect(0, 'status', '--json', 'k').out)
        equal((found['held'], found['pid'], found['ttl_ms']), (True, process.pid, 10000), 'as JSON')
        check(0 <= found['held_ms'] and 0 < found['remaining_ms'] <= 10000, found)


def case_list():
    with World() as w:
        equal(w.expect(0, 'list').out, 'KEY  HOLDER  MACHINE  PID  HELD FOR  EXPIRES IN  FENCE\n', 'an empty list')
        equal(json.loads(w.expect(0, 'list', '--json').out), [], 'an empty list as JSON')
        keys = ['a', 'b/1', 'b/2 with a long name', 'B', 'ü\x1b', '"quoted\\']
        for key in keys:
            w.expect(0, 'acquire', '-t', '1h', key)
        found = json.loads(w.expect(0, 'list', '--json').out)
        equal([hold['key'] for hold in found], sorted(keys, key=lambda key: key.encode()), 'keys as JSON')
        equal([hold['key'] for hold in json.loads(w.expect(0, 'list', '--json', 'b/').out)], keys[1:3], 'keys with b/')
        out = w.expect(0, 'list').out
        check('\x1b' not in out and 'ü\\x1b' in out, out)
        lines = out.splitlines()
        equal(len(lines), 1 + len(keys), 'lines')
        equal(len({line.rindex(' ') for line in lines}), 1, 'places where the last column begins')
        for hold in found:
            check(hold['owner'] not in out, 'a whole owner is in the table')
            check(hold['owner'].split(':')[2][:8] in out, 'a hold cannot be told by its mark')


def case_break():
    with World() as w:
        done = w.expect(1, 'break', '--force', 'k')
        check("'k' is free" in done.err, done)
        process, _ = w.hold('k', '-t', '1s')
        out = w.expect(0, 'break', '--force', 'k').out
        check(re.match(r'k: broken, was held by \S+ \(pid %d\) for \S+\n$' % process.pid, out), out)
        equal(w.end(process).code, 79, 'exit status of the holder')
        process, _ = w.hold('j', '-t', '1s')
        found = json.loads(w.expect(0, 'break', '--force', '--json', 'j').out)
        equal((found['key'], found['broken']['pid']), ('j', process.pid), 'as JSON')


def case_break_without_a_terminal_needs_force():
    with World() as w:
        w.expect(0, 'acquire', '-t', '1h', 'k')
        done = w.expect(64, 'break', 'k')
        check('--force' in done.err, done)
        check(w.held(), 'the lock was broken')


def case_check():
    with World() as w:
        done = w.expect(0, 'check')
        for part in ('storage      sqlite:' + w.path, 'round trip   min ', 'median', 'acquire            ok',
                     'busy for others    ok', 'extend             ok', 'names its holder   ok', 'release            ok',
                     'free again         ok', 'warning'):
            check(part in done.out, '%r is not in\n%s' % (part, done.out))
        found = json.loads(w.expect(0, 'check', '--json').out)
        check(found['ok'] and found['round_trips_us']['min'] <= found['round_trips_us']['max'], found)
        equal({step['ok'] for step in found['steps']}, {True}, 'steps')
        check(isinstance(found['warnings'], list), found)
        equal(json.loads(w.expect(0, 'list', '--json').out), [], 'locks that check has left')


def case_check_of_a_storage_that_cannot_be_reached():
    with World() as w:
        done = w.expect(69, 'check', '--json', '-S', 'sqlite:/proc/none/locks.db')
        found = json.loads(done.out)
        check(not found['ok'] and '/proc/none' in found['error'], found)


def case_holder_of_another_form():
    with World() as w:
        owner = 'only-a-token'
        w.expect(0, 'acquire', '-t', '1h', 'k')
        w.shell('''python3 -c "
import sqlite3, sys
c = sqlite3.connect(sys.argv[1])
c.execute('UPDATE locks SET owner = ?', (sys.argv[2],))
c.commit()
" "$PWD/locks.db" ''' + owner)
        check(owner not in w.expect(0, 'status', 'k').out, 'the token is shown')
        found = w.status()
        equal((found['owner'], 'machine' in found, 'pid' in found), (owner, False, False), 'status as JSON')
        row = w.expect(0, 'list').out.splitlines()[1].split()
        equal(row[1:4], ['only-a', '-', '-'], 'holder, machine and pid in the table')
        check('only-a...' in w.expect(75, 'run', '-n', 'k', '--', 'true').err, 'the holder is not named')


main(cases(globals()))
