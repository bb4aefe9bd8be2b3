#!/usr/bin/env python3
"""run.py [--node VERSION] [--sanitized | --coverage] FOLDER [FILE...]: installs and tests the package for Node.js as its users do,
in a copy in FOLDER; prints TAP.

Called by meson, with DLOCK_BUILD, the build folder of libdlock (otherwise build/dev), in the environment; and by hand
to try another version of Node, which npm gets. FILEs are some of test/. Nothing is written to the source tree. Where
node is missing, or npm cannot get what the package depends on, it says so as a test that was skipped.
"""
import argparse
import os
import re
import shutil
import subprocess
import sys

TREE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
RESULT = re.compile(r'( *)(not )?ok \d+ - (.*?)(?: # (SKIP|TODO) ?(.*))?$')
SUBTEST = re.compile(r'( *)# Subtest: (.*)$')


def copy(folder):
    """Copies the package; what npm and the compiler made in an earlier run stays."""
    source = os.path.join(TREE, 'bindings', 'node')
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


def prepare(options):
    """Copies, and installs; returns the plan, with a reason, of a test that ends here, or None."""
    if not shutil.which('node') or not shutil.which('npm'):
        return '1..0 # SKIP node or npm is not there'
    copy(options.folder)
    complaint = npm(options.folder)
    if complaint:
        if npm(options.folder, '--ignore-scripts'):
            return '1..0 # SKIP npm cannot get what the package depends on'
        return '1..1\nnot ok 1 - npm install\n# ' + complaint.replace('\n', '\n# ')
    # From here on the scripts of the package run on that one, since npm looks for programs in node_modules first.
    if options.node and npm(options.folder, '--no-save', 'node@' + options.node):
        return '1..0 # SKIP npm cannot get node %s' % options.node
    return None


def sanitizers():
    """What node, which is compiled without, needs to load a library with sanitizers."""
    paths = [subprocess.run(['gcc', '-print-file-name=' + name], stdout=subprocess.PIPE, universal_newlines=True,
                            check=True).stdout.strip() for name in ('libasan.so', 'libubsan.so')]
    options = os.environ.get('ASAN_OPTIONS', '')
    # Node frees little at its end, and every allocation of the addon has node on its stack: leaks cannot be told apart.
    # A test looks for them by the size of the process, in which freed memory must not be kept for long.
    mine = 'detect_leaks=0:quarantine_size_mb=8'
    return {'DLOCK_TEST_PRELOAD': ':'.join(paths), 'ASAN_OPTIONS': ':'.join(filter(None, [options, mine]))}


def main():
    parser = argparse.ArgumentParser(description='Installs and tests the package for Node.js in a folder; prints TAP.')
    parser.add_argument('--node', metavar='VERSION', help='of Node, such as 24; otherwise the one on PATH')
    parser.add_argument('--sanitized', action='store_true', help='gcc made libdlock with sanitizers; the addon, too')
    parser.add_argument('--coverage', action='store_true', help='the addon, too, counts which of its lines are run')
    parser.add_argument('folder', metavar='FOLDER', help='for the copy; kept for the next time')
    parser.add_argument('files', metavar='FILE', nargs='*', help='of test/; otherwise all')
    options = parser.parse_args()
    os.environ['DLOCK_TREE'] = TREE
    os.environ['DLOCK_BUILD'] = os.path.abspath(os.environ.get('DLOCK_BUILD', os.path.join(TREE, 'build', 'dev')))
    if options.sanitized:
        os.environ.update(CC='gcc', CFLAGS='-g -fsanitize=address,undefined -fno-sanitize-recover=undefined')
    if options.coverage:
        os.environ.update(CC='gcc', CFLAGS='-O0 --coverage -fprofile-update=atomic')
    reason = prepare(options)
    if reason:
        print(reason)
        return int('not ok' in reason)
    print('ok 1 - npm install', flush=True)
    command = ['npm', 'test', '--silent', '--', '--test-reporter=tap', *options.files]
    environment = dict(os.environ, **(sanitizers() if options.sanitized else {}))
    with subprocess.Popen(command, cwd=options.folder, env=environment, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, universal_newlines=True) as tests:
        count = flatten(iter(tests.stdout.readline, ''))
    print('1..%d' % count)
    return tests.returncode


if __name__ == '__main__':
    sys.exit(main())
