#!/usr/bin/env python3
"""run.py [WORD...]: checks the models with Spin, exhaustively; prints TAP. Called by `make models` and the test `models`.

A model that is right must hold in every state that can be reached. A broken one must not, and the property that it
breaks is named here: a model in which mistakes are not found proves nothing. With words, only cases that have one of
them in their names. A counterexample is shown by: spin -a -DSWITCH... models/NAME.pml && gcc -DSAFETY -o pan pan.c &&
./pan -i && spin -t -p -g models/NAME.pml
"""
import functools
import os
import re
import resource
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), 'tests'))

import tap  # noqa: E402

MEMORY_MB = 1000
DEPTH = 200000

# How pan names what was violated.
ONE_HOLDER = 'valid'
FENCES_GROW = 'told_fence'
OWNER_ONCE = 'returns|releases'
CARED_FOR = 'record_left'
BECOMES_FREE = 'acceptance cycle'


class Model:
    def __init__(self, name, text, *switches, breaks=None):
        self.name, self.text, self.switches, self.breaks = name, text, switches, breaks


def broken(name, switch, breaks, *others):
    text = switch.split('_', 1)[1].lower().replace('_', ' ')
    if breaks == ONE_HOLDER:
        others += ('ONLY_HOLDERS',)
    return Model(name, 'finds: %s%s' % (text, ', and two holders come of it' if breaks == ONE_HOLDER else ''), switch,
                 *others, breaks=breaks)


MODELS = [
    Model('lease', 'holds: three acquisitions, one ttl'),
    Model('lease', 'holds: two acquisitions, two ttls', 'TWO_TTLS', 'OWNERS=2'),
    Model('lease', 'holds: what nobody has becomes free', 'LIVENESS', 'OWNERS=2'),
    broken('lease', 'BROKEN_RELEASE_WITHOUT_OWNER', ONE_HOLDER),
    broken('lease', 'BROKEN_EXTEND_WITHOUT_OWNER', ONE_HOLDER),
    broken('lease', 'BROKEN_TAKE_OVER_NOT_REFRESHED', ONE_HOLDER),
    broken('lease', 'BROKEN_FENCE_IN_RECORD', FENCES_GROW),
    broken('lease', 'BROKEN_VALIDITY_FROM_REPLY', ONE_HOLDER),
    broken('lease', 'BROKEN_DRIFT_FORGOTTEN', ONE_HOLDER),
    broken('lease', 'BROKEN_LOST_REPLY_IS_SUCCESS', ONE_HOLDER),
    broken('lease', 'BROKEN_LOST_REPLY_IS_FAILURE', CARED_FOR),
    broken('lease', 'BROKEN_OWNER_USED_AGAIN', OWNER_ONCE),
    broken('lease', 'BROKEN_OWNER_USED_AGAIN', ONE_HOLDER),
    broken('lease', 'BROKEN_LATE_EXTEND_BELIEVED', FENCES_GROW),
    broken('lease', 'BROKEN_SHORTER_NOT_CUT', ONE_HOLDER, 'TWO_TTLS', 'OWNERS=2'),
    broken('lease', 'BROKEN_STRAY_FORGOTTEN', ONE_HOLDER, 'TWO_TTLS', 'OWNERS=2'),
    broken('lease', 'BROKEN_EXPIRY_SET_LATER', BECOMES_FREE, 'LIVENESS', 'OWNERS=2'),
    Model('redlock', 'holds: one node forgets'),
    Model('redlock', 'holds: extends and repairs', 'EXTENDS=1', 'FORGETS=0'),
    Model('redlock', 'holds: clients want fences, and one node forgets', 'WANTS'),
    Model('redlock', 'holds: clients want fences, and extend', 'WANTS', 'EXTENDS=1', 'FORGETS=0'),
    broken('redlock', 'BROKEN_NO_RESTART_GUARD', ONE_HOLDER),
    broken('redlock', 'BROKEN_FENCE_NOT_WRITTEN_BACK', FENCES_GROW),
    broken('redlock', 'BROKEN_SMALLER_FENCE_TAKEN', FENCES_GROW, 'WANTS'),
    broken('redlock', 'BROKEN_MINORITY_TAKES_THE_FENCE', FENCES_GROW, 'WANTS'),
    broken('redlock', 'BROKEN_FENCE_WITHOUT_CLOCK', FENCES_GROW),
    broken('redlock', 'BROKEN_HALF_IS_A_MAJORITY', ONE_HOLDER),
    broken('redlock', 'BROKEN_VALIDITY_FROM_REPLY', ONE_HOLDER),
    broken('redlock', 'BROKEN_OWNER_USED_AGAIN', OWNER_ONCE),
    broken('redlock', 'BROKEN_OWNER_USED_AGAIN', ONE_HOLDER),
    broken('redlock', 'BROKEN_LATE_EXTEND_BELIEVED', FENCES_GROW, 'EXTENDS=1', 'FORGETS=0'),
    broken('redlock', 'LIMIT_FLUSHED_WITHOUT_RESTART', ONE_HOLDER),
    broken('redlock', 'LIMIT_CLOCK_AHEAD', ONE_HOLDER),
]


def explore(model):
    """What pan, the checker that Spin makes of a model, says of it, and the seconds of processor time that it took."""
    live = 'LIVENESS' in model.switches
    with tap.Folder() as folder:
        def run(*command):
            done = subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT, universal_newlines=True, check=False)
            tap.check(done.returncode == 0, '%s: exit code %d\n%s' % (command[0], done.returncode, done.stdout))
            return done.stdout
        run(tap.needs('spin'), '-a', *('-D' + switch for switch in model.switches),
            os.path.join(HERE, model.name + '.pml'))
        run(tap.needs('gcc'), '-O1', '-DCOLLAPSE', '-DMEMLIM=%d' % MEMORY_MB, '-DNFAIR=3' if live else '-DSAFETY',
            '-o', 'pan', 'pan.c')
        before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
        output = run('./pan', '-m%d' % DEPTH, *(['-a', '-f'] if live else []))
        return output, resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before


def number(pattern, output):
    found = re.search(pattern, output)
    tap.check(found, 'no "%s" in what the checker says:\n%s' % (pattern, output))
    return float(found[1])


def check(model):
    output, seconds = explore(model)
    errors = number(r'errors: (\d+)', output)
    print('# %d states, %.1f s, %d MB' % (number(r'(\d+) states, stored', output), seconds,
                                          number(r'([\d.]+)\s+total actual memory', output)), flush=True)
    if model.breaks:
        found = re.search(r'^pan:1: (.*?)(?: \(at depth \d+\))?$', output, re.MULTILINE)
        tap.check(errors and found, 'the mistake was not found:\n' + output)
        tap.check(re.search(model.breaks, found[1]), 'expected that "%s" is violated, found: %s'
                  % (model.breaks, found[1]))
        return
    tap.check(errors == 0, 'it does not hold:\n' + output)
    for trouble in ('Search not completed', 'max search depth too small', 'out of memory'):
        tap.check(trouble not in output, 'not all of it was looked at: %s\n%s' % (trouble, output))


def main():
    words = sys.argv[1:]
    cases = [('%s %s' % (model.name, model.text), functools.partial(check, model)) for model in MODELS]
    tap.main([case for case in cases if not words or any(word in case[0] for word in words)])


if __name__ == '__main__':
    main()
