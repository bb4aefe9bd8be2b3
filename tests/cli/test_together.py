"""Many at once, and little room: nothing is lost, and nothing is broken for good."""
import os
import shutil
import subprocess

from world import DLOCK, Skip, World, cases, check, equal, main, write

COUNTER = os.environ['COUNTER']
PROCESSES, TURNS = 8, int(os.environ.get('TURNS', '200'))


def case_counter_of_many_processes():
    with World() as w:
        write(w.path, 'number', '0\n')
        script = 'i=0; while [ $i -lt %d ]; do dlock run k -- "$COUNTER" number || exit; i=$((i + 1)); done' % TURNS
        workers = [w.shell_start(script) for _ in range(PROCESSES)]
        for worker in workers:
            done = w.end(worker, patience=600)
            equal(done.code, 0, 'exit status of a worker\n%r\n' % done)
        equal(int(w.content('number')), PROCESSES * TURNS, 'the number')


def case_many_keys_at_once():
    with World() as w:
        processes = [w.start('run', '-n', 'key %d' % i, '--', 'sh', '-c', 'echo %d' % i) for i in range(24)]
        for i, process in enumerate(processes):
            done = w.end(process)
            equal((done.code, done.out), (0, '%d\n' % i), 'exit status and output of %d\n%r\n' % (i, done))


def in_full_folder(script):
    """Runs a script in a small file system that only it sees."""
    if os.getuid() != 0 or not shutil.which('unshare'):
        raise Skip('needs root and unshare')
    with World() as w:
        os.mkdir(w.file('small'))
        prepare = 'mount -t tmpfs -o size=256k none "$1" || exit 90; cd "$1"; shift; exec "$@"'
        env = dict(w.env, DLOCK=DLOCK, DLOCK_STORE='sqlite:' + w.file('small') + '/locks.db')
        done = subprocess.run(['unshare', '--mount', 'sh', '-c', prepare, 'sh', w.file('small'), 'sh', '-c', script],
                              env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              universal_newlines=True, check=False)
    if done.returncode in (1, 90) and ('unshare' in done.stderr or 'mount' in done.stderr):
        raise Skip('cannot mount: ' + done.stderr.strip())
    return done


def case_full_disk():
    done = in_full_folder('''
        "$DLOCK" run k -- true || exit 91
        cat /dev/zero > filler 2>/dev/null
        "$DLOCK" run --retries 1 k -- touch ran
        echo "first $?"
        "$DLOCK" status k > /dev/null
        echo "status $?"
        rm filler
        "$DLOCK" run k -- echo again
        echo "last $?"
        ls
    ''')
    lines = done.stdout.split()
    # SQLite may find room in what its files have already; what counts is that it either locks or says that it cannot.
    check(lines[1] in ('0', '69'), done)
    check(lines[1] == '0' or 'dlock: ' in done.stderr, done)
    check(('ran' in lines) == (lines[1] == '0'), done)
    check('again' in lines and lines[lines.index('last') + 1] == '0', done)


def case_full_disk_from_the_start():
    done = in_full_folder('''
        cat /dev/zero > filler 2>/dev/null
        "$DLOCK" run --retries 1 k -- touch ran
        echo "first $?"
        rm filler
        "$DLOCK" run k -- echo again
        echo "last $?"
    ''')
    equal(done.stdout.split(), ['first', '69', 'again', 'last', '0'], 'what happened\n%s\n' % done.stderr)
    check('no space left' in done.stderr, done)


main(cases(globals()))
