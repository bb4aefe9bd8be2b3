"""The checker of the torture run: hand-written histories, one or more for each invariant, each of which must be found;
and clean ones, in which nothing may be. Times are in ms; see README.md for the lines."""
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, '..'))
sys.path.insert(0, HERE)
import checker
from tap import check, equal, main


def history(*lines):
    """Each line is (ms, who, hold, word, key, rest...), as a text without the process."""
    text = []
    for line in lines:
        time, who, rest = line.split(None, 2)
        text.append('%d %s 1 %s' % (float(time) * 1000, who, rest))
    return checker.Report('\n'.join(text))


def expect(found, *invariants):
    equal(sorted(violation.invariant for violation in found.violations), sorted(invariants),
          'violations\n' + '\n'.join(violation.text for violation in found.violations) + '\n')


def grant(who, hold, asked, told, fence, options='', key='k'):
    return ['%s %s %s asks %s call=acquire ttl=1000 wait=0 retries=1 interval=100 renew=0 margin=200 async=0 %s'
            % (asked, who, hold, key, options),
            '%s %s %s told %s call=acquire status=OK fence=%s owner=%s:1:%s' % (told, who, hold, key, fence, who, hold)]


def look(who, hold, time, left, key='k'):
    return ['%s %s %s look %s since=%d held=%d left=%s' % (time, who, hold, key, float(time) * 1000, left > 0, left)]


def release(who, hold, asked, told, status='OK', call='release', owner=None, key='k'):
    return ['%s %s %s asks %s call=%s owner=%s' % (asked, who, hold, key, call, owner or '%s:1:%s' % (who, hold)),
            '%s %s %s told %s call=%s status=%s' % (told, who, hold, key, call, status)]


def lost(who, hold, time, left=200, key='k'):
    return ['%s %s %s lost %s since=%d left=%s' % (time, who, hold, key, float(time) * 1000, left)]


def fault(number, name, begin, end, scope='all', breaks='', settles=0):
    return ['%s nemesis %s fault %s scope=%s breaks=%s' % (begin, number, name, scope, breaks),
            '%s nemesis %s over %s settles=%s' % (end, number, name, settles)]


def end(time):
    """A line that makes the history last until then."""
    return ['%s resource - ends -' % time]


A = grant('c0.1', 1, 10, 11, 100) + look('c0.1', 1, 12, 990) + release('c0.1', 1, 20, 21)
B = grant('c1.1', 1, 30, 31, 101) + look('c1.1', 1, 32, 990) + release('c1.1', 1, 40, 41)
RENEWED, WATCHED = 'renew=1', 'async=1'


def case_clean():
    expect(history(*A, *B))


def case_clean_with_faults():
    # A holder that is killed, a waiter that gets in after its ttl; a lost reply; a stopped holder that is late.
    expect(history(
        *grant('c0.1', 1, 10, 11, 100), *look('c0.1', 1, 12, 990),
        *fault(1, 'kill-client', 50, 51, scope='c0'), '50 nemesis - kills c0.1',
        *grant('c1.1', 1, 60, 1100, 101, 'wait=3000'), *look('c1.1', 1, 1101, 900), *release('c1.1', 1, 1110, 1111),
        *fault(2, 'lose-replies', 1200, 1300),
        *grant('c2.1', 1, 1250, 1260, 102), *release('c2.1', 1, 1270, 1290, 'UNAVAILABLE'),
        *grant('c0.2', 1, 1300, 2300, 103, 'wait=3000'), *look('c0.2', 1, 2301, 900),
        *fault(3, 'stop-client', 2310, 3600, scope='c0'),
        *grant('c1.1', 2, 2400, 3310, 104, 'wait=3000'), *look('c1.1', 2, 3311, 900), *release('c1.1', 2, 3320, 3321),
        *look('c0.2', 1, 3601, 0), *release('c0.2', 1, 3610, 3611, 'LOST')))


def case_overlap():
    expect(history(*grant('c0.1', 1, 10, 11, 100), *look('c0.1', 1, 12, 990), *grant('c1.1', 1, 30, 31, 101),
                   *look('c1.1', 1, 32, 990), *release('c1.1', 1, 40, 41), *release('c0.1', 1, 50, 51, 'LOST')), 'overlap')


def case_overlap_of_the_dead():
    # Whoever is dead believes in nothing; until then it did.
    lines = [*grant('c0.1', 1, 10, 11, 100), *look('c0.1', 1, 12, 990), '%d nemesis - kills c0.1',
             *grant('c1.1', 1, 30, 31, 101), *look('c1.1', 1, 32, 990), *release('c1.1', 1, 40, 41)]
    expect(history(*[line.replace('%d', '35') for line in lines]), 'overlap')
    expect(history(*[line.replace('%d', '29') for line in lines]))


def case_overlap_explained():
    lines = [*grant('c0.1', 1, 10, 11, 100), *look('c0.1', 1, 12, 990), *grant('c1.1', 1, 30, 31, 101),
             *look('c1.1', 1, 32, 990), *release('c1.1', 1, 40, 41), *release('c0.1', 1, 50, 51, 'LOST')]
    found = history(*lines, *fault(1, 'forget-server', 20, 25, breaks='overlap'))
    expect(found)
    equal(dict(found.explained), {('overlap', 'forget-server'): 1}, 'what the fault explains')
    # Not by a fault that breaks something else, that came later, or that touched others.
    expect(history(*lines, *fault(1, 'kill-server', 20, 25, breaks='command')), 'overlap')
    expect(history(*lines, *fault(1, 'forget-server', 60, 70, breaks='overlap')), 'overlap')
    expect(history(*lines, *fault(1, 'forget-server', 20, 25, scope='c5', breaks='overlap')), 'overlap')
    expect(history(*lines, *fault(1, 'forget-server', 20, 25, scope='all victims=c5', breaks='overlap')), 'overlap')


def case_command():
    run = ['10 r0.1 1 asks k call=acquire ttl=1000 wait=500 interval=200 renew=1 run=1',
           '11 r0.1 1 told k call=acquire status=OK fence=100 owner=vm:1:1',
           '60 r0.1 1 look k since=60000 held=1 left=0', '70 r0.1 1 exits k code=-9']
    expect(history(*run, *grant('c1.1', 1, 30, 31, 101), *look('c1.1', 1, 32, 990), *release('c1.1', 1, 80, 81)),
           'command')


def case_fence_unique():
    expect(history(*A, *grant('c1.1', 1, 30, 31, 100), *release('c1.1', 1, 40, 41)), 'fence-unique')


def case_fence_order():
    expect(history(*A, *grant('c1.1', 1, 30, 31, 99), *release('c1.1', 1, 40, 41)), 'fence-order')
    # Of another key as well, if it was asked for later; if both were asked for at once there is no order.
    expect(history(*A, *grant('c1.1', 1, 30, 31, 99, key='l'), *release('c1.1', 1, 40, 41, key='l')), 'fence-order')
    expect(history(*A, *grant('c1.1', 1, 10.5, 31, 99, key='l'), *release('c1.1', 1, 40, 41, key='l')))
    # Of one key also for a waiter, which asked before.
    expect(history(*A, *grant('c1.1', 1, 5, 31, 99, 'wait=500'), *release('c1.1', 1, 40, 41)), 'fence-order')


def case_resend_refused():
    refused = ['30 c0.1 2 asks k call=acquire ttl=1000 wait=0 retries=2 interval=10 renew=0',
               '50 c0.1 2 told k call=acquire status=BUSY holder=c0.1:1:2']
    expect(history(*A, *refused), 'resend-refused')
    # What an attempt of before left behind may be in the way until its ttl is over.
    expect(history(*grant('c0.1', 1, 10, 11, 100), *release('c0.1', 1, 20, 21, 'UNAVAILABLE'), *refused))


def case_stale():
    for call in ('extend', 'release'):
        former = release('c0.1', 2, 50, 51, call=call, owner='c0.1:1:1')
        asked = '45 c0.1 2 asks k call=acquire ttl=1000 wait=0 retries=1', '46 c0.1 2 told k call=acquire status=BUSY'
        expect(history(*A, *asked, *former), 'stale')
        expect(history(*A, *asked, *[line.replace('status=OK', 'status=LOST') for line in former]))


def case_stale_by_time():
    late = release('c0.1', 1, 1300, 1301, call='extend')
    late[0] += ' ttl=1000'
    lines = [*grant('c0.1', 1, 10, 11, 100), *look('c0.1', 1, 12, 990), *look('c0.1', 1, 1100, 0)]
    expect(history(*lines, *late), 'stale')
    # One before, also of unknown outcome, may have kept it alive.
    before = release('c0.1', 1, 500, 501, 'UNAVAILABLE', call='extend')
    before[0] += ' ttl=1000'
    expect(history(*grant('c0.1', 1, 10, 11, 100), *before, *late))


def case_late_extend():
    lines = [*grant('c0.1', 1, 10, 11, 100), *look('c0.1', 1, 12, 990), *look('c0.1', 1, 1100, 0),
             *grant('c1.1', 1, 1200, 1201, 101), *look('c1.1', 1, 1202, 990)]
    expect(history(*lines, *release('c0.1', 1, 1300, 1301, call='extend'), *release('c1.1', 1, 1400, 1401)),
           'stale', 'late-extend')
    expect(history(*lines, *release('c0.1', 1, 1300, 1301, call='release'), *release('c1.1', 1, 1400, 1401)), 'stale')


def case_lost_twice():
    expect(history(*grant('c0.1', 1, 10, 11, 100, RENEWED), *fault(1, 'unplug', 5, 2000), *look('c0.1', 1, 12, 990),
                   *lost('c0.1', 1, 800), *lost('c0.1', 1, 810), *release('c0.1', 1, 820, 821, 'LOST')), 'lost-twice')


def case_lost_late():
    lines = [*grant('c0.1', 1, 10, 11, 100, RENEWED), *fault(1, 'unplug', 5, 2000), *look('c0.1', 1, 12, 990),
             *look('c0.1', 1, 990, 10), *lost('c0.1', 1, 1010, 0), *release('c0.1', 1, 1020, 1021, 'LOST')]
    expect(history(*lines), 'lost-late')
    expect(history(*lines, '995 resource - stall - ms=100'))


def case_lost_untold():
    lines = [*grant('c0.1', 1, 10, 11, 100, WATCHED), *look('c0.1', 1, 12, 990), *look('c0.1', 1, 1100, 0)]
    expect(history(*lines, *release('c0.1', 1, 1110, 1111, 'LOST')), 'lost-untold')
    expect(history(*lines, *lost('c0.1', 1, 1101, 0), *release('c0.1', 1, 1110, 1111, 'LOST')))
    # A lock that nobody looks after by events is just over.
    expect(history(*[line.replace('async=1', 'async=0') for line in lines], *release('c0.1', 1, 1110, 1111, 'LOST')))


def case_lost_healthy():
    lines = [*grant('c0.1', 1, 2010, 2011, 100, RENEWED), *look('c0.1', 1, 2012, 990), *lost('c0.1', 1, 2500, 400),
             *release('c0.1', 1, 2510, 2511, 'LOST')]
    expect(history(*lines), 'lost-healthy')
    # A fault explains it, also one of before that is still felt; so does a machine that stands still; not another's.
    expect(history(*lines, *fault(1, 'refuse', 2400, 2450)))
    expect(history(*lines, *fault(1, 'refuse', 400, 500, settles=1000)))
    expect(history(*lines, '2400 resource - stall - ms=300'))
    expect(history(*lines, *fault(1, 'refuse', 2400, 2450, scope='c1,c2')), 'lost-healthy')
    expect(history(*lines, *fault(1, 'kill-server', 2400, 2450, scope='nobody')), 'lost-healthy')
    # One that is not renewed ends by LOST when the margin begins, and not before.
    lines = [*grant('c0.1', 1, 2010, 2011, 100, WATCHED), *look('c0.1', 1, 2012, 990)]
    expect(history(*lines, *lost('c0.1', 1, 2800, 200), *release('c0.1', 1, 2810, 2811)))
    expect(history(*lines, *lost('c0.1', 1, 2300, 700), *release('c0.1', 1, 2310, 2311)), 'lost-healthy')


def case_lost_after_release():
    expect(history(*grant('c0.1', 1, 10, 11, 100, RENEWED), *fault(1, 'unplug', 5, 2000), *look('c0.1', 1, 12, 990),
                   *release('c0.1', 1, 820, 821), *lost('c0.1', 1, 830, 100)), 'lost-after-release')


def case_held_after_lost():
    expect(history(*grant('c0.1', 1, 10, 11, 100, RENEWED), *fault(1, 'unplug', 5, 2000), *look('c0.1', 1, 12, 990),
                   *lost('c0.1', 1, 800), *look('c0.1', 1, 801, 199), *release('c0.1', 1, 820, 821, 'LOST')),
           'held-after-lost')


def case_wait():
    waiter = ['100 c1.1 1 asks k call=acquire ttl=1000 wait=9000 retries=1 interval=100 renew=0',
              '6000 c1.1 1 told k call=acquire status=BUSY holder=c0.1:1:1']
    # Free: nobody ever had it; who had it released it, died, or had no answer, long ago.
    expect(history(*waiter), 'wait')
    expect(history(*A, *waiter), 'wait')
    dead = [*grant('c0.1', 1, 10, 11, 100), *look('c0.1', 1, 12, 990), '50 nemesis - kills c0.1']
    expect(history(*dead, *waiter), 'wait')
    unknown = ['10 c0.1 1 asks k call=acquire ttl=1000 wait=0 retries=1 interval=100 renew=0',
               '50 c0.1 1 told k call=acquire status=UNAVAILABLE']
    expect(history(*unknown, *waiter), 'wait')
    # Soon enough; while it was held; while the waiter itself was cut off, not while somebody else was.
    soon = [waiter[0], '3000 c1.1 1 told k call=acquire status=OK fence=101 owner=c1.1:1:1',
            *release('c1.1', 1, 3001, 3002)]
    expect(history(*dead, *soon))
    held = [*grant('c0.1', 1, 10, 11, 100, RENEWED), *look('c0.1', 1, 12, 990), *look('c0.1', 1, 5990, 990),
            *release('c0.1', 1, 5995, 5996)]
    expect(history(*held, *waiter))
    expect(history(*waiter, *fault(1, 'refuse', 200, 5000)))
    expect(history(*waiter, *fault(1, 'refuse', 200, 5000, scope='c7')), 'wait')
    # A machine that stands still has its time added.
    expect(history(*waiter, '5000 resource - stall - ms=2000'))


def case_answers():
    lines = ['%d c0.1 %d %s' % (10 * number + at, number, what) for number in range(20) for at, what in enumerate(
        ['asks k call=acquire ttl=1000 wait=0 retries=1', 'told k call=acquire status=UNAVAILABLE'])]
    expect(history(*lines), 'answers')
    expect(history(*lines, *fault(1, 'unplug', 5, 300)))
    expect(history(*lines[:12]))


def case_status():
    expect(history('10 c0.1 1 asks k call=acquire ttl=1000 wait=0 retries=1',
                   '11 c0.1 1 told k call=acquire status=REFUSED'), 'status')
    expect(history(*grant('c0.1', 1, 10, 11, 100), *release('c0.1', 1, 20, 21, 'INVALID')), 'status')


def case_fenced_update():
    expect(history(*A, '22 resource - overwritten k table=fenced fence=99 updates=1'), 'fenced-update')
    expect(history(*A, '22 resource - overwritten k table=unfenced fence=99 updates=1'))


def case_unfenced_update():
    lines = [*grant('c0.1', 1, 10, 11, 100), *look('c0.1', 1, 12, 990), '13 c0.1 1 stops k',
             *fault(1, 'stop-writer', 13, 1500, scope='c0'),
             *grant('c1.1', 1, 1100, 1101, 101), *look('c1.1', 1, 1102, 990), *look('c1.1', 1, 1103, 989),
             *release('c1.1', 1, 1110, 1111), *look('c0.1', 1, 1501, 0), *release('c0.1', 1, 1502, 1503, 'LOST')]
    expect(history(*lines), 'unfenced-update')
    expect(history(*lines, '1500.5 resource - overwritten k table=unfenced fence=100 updates=1'))


def case_left_behind():
    expect(history(*A, '9000 nemesis - left k owner=c0.1:1:1'), 'left-behind')


def case_crash():
    expect(history(*A, '30 nemesis - crashes c0.1 # exit code -11:'), 'crash')


def case_all_are_tried():
    """Each invariant has a case here that finds it."""
    with open(os.path.abspath(__file__), encoding='utf-8') as file:
        text = file.read()
    untried = [name for name in checker.INVARIANTS if "'%s')" % name not in text]
    check(not untried, 'no history here breaks: ' + ', '.join(untried))


def case_figures():
    figures = history(*A, *B, '50 resource - total k table=fenced updates=7 refused=1 overwritten=0').figures()
    equal([figures[name] for name in ('operations', 'grants', 'hand-overs', 'unknown outcomes', 'fenced updates')],
          [4, 2, 1, 0, '7, lost 0, refused 1 requests'], 'figures')


main([(name[5:].replace('_', ' '), case) for name, case in list(globals().items()) if name.startswith('case_')])
