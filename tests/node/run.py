#!/usr/bin/env python3
"""run.py SOURCE FOLDER: installs and tests the package for Node.js, as its users do, in a copy below FOLDER; prints TAP.

Called by meson, with DLOCK_BUILD and DLOCK_TREE in the environment. Nothing is written to the source tree. Where node is
missing, or npm cannot get what the package depends on, it says so as a test that was skipped.
"""
import os
import re
import shutil
import subprocess
import sys

RESULT = re.compile(r'( *)(not )?ok \d+ - (.*?)(?: # (SKIP|TODO) ?(.*))?$')
SUBTEST = re.compile(r'( *)# Subtest: (.*)$')


def copy(source, folder):
    """Copies the package; what npm and the compiler made in an earlier run stays."""
    os.makedirs(folder, exist_ok=True)
    for name in os.listdir(folder):
        path = os.path.join(folder, name)
        if name not in ('node_modules', 'build'):
            shutil.rmtree(path) if os.path.isdir(path) else os.unlink(path)
    shutil.copytree(source, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns('node_modules', 'build'))


def npm(folder, *words):
    command = ['npm', 'install', '--no-audit', '--no-fund', '--prefer-offline', *words]
    done = subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, universal_newlines=True, check=False)
    return None if done.returncode == 0 else done.stdout


def flatten(lines):
    """Prints the cases of nested suites one below the other; returns the number of the last."""
    number, names, parents = 1, {}, {}  # npm install was the first
    for line in lines:
        line = line.rstrip('\n')
        subtest, result = SUBTEST.match(line), RESULT.match(line)
        if subtest:
            depth = len(subtest[1])
            names[depth] = subtest[2]
            parents[depth] = False
        elif result:
            depth = len(result[1])
            has_cases, parents[depth] = parents.get(depth, False), False
            for above in range(depth):
                if above in parents:
                    parents[above] = True
            if has_cases:
                continue
            number += 1
            suite = [names[above] for above in sorted(names) if above < depth]
            skipped = ' # %s %s' % (result[4], result[5]) if result[4] else ''
            print('%sok %d - %s%s' % (result[2] or '', number, ': '.join(suite + [result[3]]), skipped), flush=True)
        elif line.strip() and not line.startswith(('TAP version', '1..')):
            print('# ' + line, flush=True)
    return number


def main():
    source, folder = sys.argv[1:]
    if not shutil.which('node') or not shutil.which('npm'):
        print('1..0 # SKIP node or npm is not there')
        return 0
    copy(source, folder)
    complaint = npm(folder)
    if complaint:
        if npm(folder, '--ignore-scripts'):
            print('1..0 # SKIP npm cannot get what the package depends on')
            return 0
        print('1..1\nnot ok 1 - npm install\n# ' + complaint.replace('\n', '\n# '))
        return 1
    print('ok 1 - npm install')
    with subprocess.Popen(['npm', 'test', '--silent', '--', '--test-reporter=tap'], cwd=folder, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, universal_newlines=True) as tests:
        lines = iter(tests.stdout.readline, '')
        count = flatten(lines)
    print('1..%d' % count)
    return tests.returncode


if __name__ == '__main__':
    sys.exit(main())
