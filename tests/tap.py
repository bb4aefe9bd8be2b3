"""tap - the little that the Python tests share: cases that print TAP, and temporary folders.

A case is a function named case_...; it fails by raising, most simply through check() and equal().
"""
import os
import shutil
import subprocess
import sys
import tempfile
import traceback


class Skip(Exception):
    """Raised by a case that cannot run here; its text says why."""


def check(truth, text):
    if not truth:
        raise AssertionError(text)


def equal(found, expected, what):
    check(found == expected, '%s: expected %r, found %r' % (what, expected, found))


def run(command, **options):
    """Runs a command that has to succeed; returns what it wrote to stdout."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          universal_newlines=True, check=False, **options)
    check(done.returncode == 0, '%s: exit code %d\n%s%s' % (' '.join(command), done.returncode, done.stdout, done.stderr))
    return done.stdout


def needs(tool):
    """The path of a tool, or the case is skipped."""
    path = shutil.which(tool)
    if not path:
        raise Skip(tool + ' is not installed')
    return path


class Folder:
    """A temporary folder for the length of a with statement."""

    def __enter__(self):
        self.path = tempfile.mkdtemp(prefix='dlock-test-')
        return self.path

    def __exit__(self, *_):
        shutil.rmtree(self.path, ignore_errors=True)


def write(folder, name, text):
    path = os.path.join(folder, name)
    with open(path, 'w', encoding='utf-8') as file:
        file.write(text)
    return path


def read(path):
    with open(path, encoding='utf-8') as file:
        return file.read()


def main(cases):
    """Runs (name, function) pairs, prints TAP, and exits."""
    print('1..%d' % len(cases), flush=True)
    failed = 0
    for number, (name, case) in enumerate(cases, 1):
        try:
            case()
            print('ok %d - %s' % (number, name), flush=True)
        except Skip as reason:
            print('ok %d - %s # SKIP %s' % (number, name, reason), flush=True)
        except Exception:  # pylint: disable=broad-except
            failed += 1
            for line in traceback.format_exc().splitlines():
                print('# ' + line)
            print('not ok %d - %s' % (number, name), flush=True)
    sys.exit(1 if failed else 0)
