"""testlog - the cases of all test programs of one run of meson, for scripts/check and scripts/mutants.

Meson's own JUnit file is not used: a program whose cases all pass but which ends badly (a leak found at its exit, a
time limit) has no failure there.
"""
import json
import os
import re


class Case:
    def __init__(self, name, outcome, detail=''):
        self.name, self.outcome, self.detail = name, outcome, detail


TAP_CASE = re.compile(r'(not )?ok\b\s*(\d+)?\s*-?\s*([^#]*?)\s*(?:#\s*(skip|todo)\S*\s*(.*))?$', re.IGNORECASE)
TAP_PLAN = re.compile(r'1\.\.(\d+)\s*(?:#\s*skip\S*\s*(.*))?$', re.IGNORECASE)


def cases_of_tap(program, entry):
    """The cases of one test program, from its entry in meson's log."""
    output = entry.get('stdout', '')
    everything = output + entry.get('stderr', '')
    cases, planned, reason, comment = [], None, None, []
    for line in output.splitlines():
        case, plan = TAP_CASE.match(line), TAP_PLAN.match(line)
        if case:
            directive = (case[4] or '').lower()
            outcome = 'skipped' if directive == 'skip' and not case[1] else 'failed' if case[1] else 'passed'
            detail = case[5] or '\n'.join(comment) if outcome == 'skipped' else ''
            cases.append(Case('%s: %s' % (program, case[3] or case[2]), outcome, detail))
            comment = []
        elif plan:
            planned, reason = int(plan[1]), plan[2]
        elif line.startswith('#'):
            comment = [line.lstrip('# ')]
    failed = [case for case in cases if case.outcome == 'failed']
    for case in failed:
        case.detail = everything
    # What went wrong outside of a case counts as one more.
    if planned == 0 and not cases and reason:
        cases.append(Case(program, 'skipped', reason))
    elif planned is not None and planned != len(cases) and not failed:
        cases.append(Case('%s: ran %d of %d cases' % (program, len(cases), planned), 'failed', everything))
    elif not cases:
        cases.append(Case('%s: printed no case' % program, 'failed', everything))
    elif (entry['returncode'] != 0 or entry['result'] in ('ERROR', 'TIMEOUT', 'INTERRUPT')) and not failed:
        cases.append(Case('%s: %s, exit code %s' % (program, entry['result'], entry['returncode']), 'failed',
                          everything))
    return cases


def cases_of_log(prefix, path):
    """The cases of a run of `meson test`, from its meson-logs/testlog.json; none if there is no such file."""
    cases = []
    if os.path.exists(path):
        with open(path, encoding='utf-8', errors='replace') as log:
            for line in log:
                entry = json.loads(line)
                # meson names a test "project:suite / name"
                cases += cases_of_tap('%s/%s' % (prefix, entry['name'].split(' / ')[-1]), entry)
    return cases
