"""What things cost, counted: bytes, instructions, system calls, requests, and what has to be loaded. Never a time.

A bound is about 1.3 times what was found when it was set, so that another compiler or library does not break it, but
another allocation, thread switch or round trip does. Who makes something dearer on purpose moves the bound, and says
why. Arguments: the program cost, libdlock.so, the dlock command, the folder of the modules.
"""
import os
import re
import shutil
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, '..'), os.path.join(HERE, '..', 'servers')]
import server
from tap import Folder, Skip, check, equal, main, needs, run
from with_server import Started

COST, LIBRARY, DLOCK, MODULES = sys.argv[1:5]
# Meson's own settings of memory and library path would be counted too.
ENVIRONMENT = {name: value for name, value in os.environ.items()
               if name not in ('LD_LIBRARY_PATH', 'MALLOC_PERTURB_', 'DLOCK_STORE')}
ENVIRONMENT['DLOCK_MODULE_PATH'] = MODULES

# Calls that are made or not as the moment has it.
BY_CHANCE = 'futex,clock_gettime,clock_nanosleep,restart_syscall,sched_yield'


def bounded(what, found, bound):
    print('# %s: %.6g (at most %.6g)' % (what, found, bound), flush=True)
    check(found <= bound, '%s: expected at most %.6g, found %.6g' % (what, bound, found))


def numbers(output):
    return {name: float(value) for name, value in re.findall(r'^(\w+) ([\d.]+)$', output, re.MULTILINE)}


def per_pair(count):
    """What `count` finds for one pair more: from what it finds for many and for few."""
    return (count(3000) - count(1000)) / 2000


def system_calls(*command, **environment):
    with Folder() as folder:
        table = os.path.join(folder, 'calls')
        done = subprocess.run([needs('strace'), '-f', '-c', '-e', 'trace=!' + BY_CHANCE, '-o', table, *command],
                              env=dict(ENVIRONMENT, **environment), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                              stderr=subprocess.PIPE, universal_newlines=True, check=False)
        if 'ptrace' in done.stderr and 'not permitted' in done.stderr:
            raise Skip('strace may not trace here')
        equal((done.returncode, done.stderr), (0, ''), ' '.join(command))
        with open(table, encoding='utf-8') as file:
            found = file.read()
        # Looks for an answer that is not there yet, instead of sleeping: by chance, too.
        in_vain = re.search(r'^ *\S+ +\S+ +\S+ +\d+ +(\d+) recvfrom$', found, re.MULTILINE)
        calls = int(re.search(r'^100\.00 +\S+ +\S+ +(\d+) .*total$', found, re.MULTILINE).group(1))
        return calls - (int(in_vain.group(1)) if in_vain else 0)


def system_calls_of_a_pair(*url):
    return per_pair(lambda count: system_calls(COST, 'pairs', str(count), *url))


def case_memory():
    found = numbers(run([COST, 'memory'], env=ENVIRONMENT))
    equal(sorted(found), ['held', 'made', 'waiter'], 'what was measured')
    bounded('bytes of a lock that is made', found['made'], 512)
    bounded('bytes of a lock that is held and renewed', found['held'], 512)
    bounded('bytes of a lock that waits asynchronously', found['waiter'], 2500)


def case_requests():
    for url in ([], ['sqlite:']):
        with Folder() as folder:
            url = [name + os.path.join(folder, 'locks.db') for name in url]
            equal(numbers(run([COST, 'pairs', '1000', *url], env=ENVIRONMENT)), {'requests': 2000, 'batches': 2000},
                  'what 1000 pairs ask of %s' % (url or 'a storage'))


def instructions(count):
    output = run([needs('valgrind'), '--tool=callgrind', '--log-fd=1', '--callgrind-out-file=/dev/null', COST, 'pairs',
                  str(count)], env=ENVIRONMENT)
    return int(re.search(r'Collected : (\d+)', output).group(1))


def case_instructions():
    bounded('instructions of the library for a pair', per_pair(instructions), 5500)


def case_system_calls_of_a_pair():
    # Only random bytes, for several owners at once.
    bounded('system calls of the library for a pair', system_calls_of_a_pair(), 0.1)
    with Folder() as folder:
        url = 'sqlite:' + os.path.join(folder, 'locks.db')
        bounded('system calls of a pair in SQLite', system_calls_of_a_pair(url), 24)


def on_a_server(name, bound):
    try:
        with Started(name) as started:
            bounded('system calls of a pair in ' + name, system_calls_of_a_pair(started.url), bound)
    except server.Skip as reason:
        raise Skip(str(reason)) from reason


def case_system_calls_of_a_pair_in_redis():
    on_a_server('redis', 8)


def case_system_calls_of_a_pair_in_postgresql():
    on_a_server('postgresql', 11)


def case_system_calls_of_the_command():
    with Folder() as folder:
        store = 'sqlite:' + os.path.join(folder, 'locks.db')
        true = shutil.which('true')
        run([DLOCK, 'run', '-S', store, 'k', true], env=ENVIRONMENT)  # makes the store
        bounded('system calls of dlock --version', system_calls(DLOCK, '--version'), 115)
        bounded('system calls of dlock run KEY true, and of true', system_calls(DLOCK, 'run', 'k', true,
                                                                                  DLOCK_STORE=store), 380)


def case_what_is_loaded():
    for path, allowed in ((LIBRARY, {'libsqlite3.so.0', 'libc.so.6'}),
                          (DLOCK, {'libdlock.so.0', 'libm.so.6', 'libc.so.6'})):
        found = set(re.findall(r'\(NEEDED\).*\[(.*)\]', run([needs('readelf'), '-d', path])))
        check('libc.so.6' in found, 'readelf is read wrongly: %r' % found)
        equal(sorted(name for name in found - allowed if not name.startswith('ld-linux')), [],
              'libraries that %s loads besides' % os.path.basename(path))


def case_size():
    for path, bound in ((LIBRARY, 130000), (DLOCK, 120000)):
        text, data = run([needs('size'), path]).splitlines()[1].split()[:2]
        bounded('bytes of code and data of ' + os.path.basename(path), int(text) + int(data), bound)


main([(name[5:].replace('_', ' '), case) for name, case in list(globals().items()) if name.startswith('case_')])
