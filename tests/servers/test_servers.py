"""What the scripts here promise: a server that obeys, and that is gone with whoever wanted it, however that ends."""
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.parse

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))
from tap import Folder, Skip, check, equal, main, write  # pylint: disable=wrong-import-position
import server  # pylint: disable=wrong-import-position
from with_server import Started  # pylint: disable=wrong-import-position

PATIENCE = 30


def until(condition, what):
    end = time.monotonic() + PATIENCE
    while not condition():
        check(time.monotonic() < end, 'never happened: ' + what)
        time.sleep(0.005)


def state(pid):
    """The state letter of a process, '' if there is none."""
    try:
        with open('/proc/%d/stat' % pid, encoding='utf-8', errors='replace') as file:
            return file.read().rpartition(')')[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ''


def gone(pid):
    return state(pid) in ('', 'Z', 'X')  # whoever adopted it may take its time to look after it


def ask(url, text, **options):
    """What a Redis answers to a line of text."""
    parts = urllib.parse.urlsplit(url)
    if parts.scheme == 'redis+unix':
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(urllib.parse.unquote(parts.path))
    else:
        connection = socket.create_connection((parts.hostname, parts.port))
    if parts.scheme == 'rediss':
        connection = ssl.create_default_context(**options).wrap_socket(connection, server_hostname=parts.hostname)
    with connection:
        connection.settimeout(PATIENCE)
        connection.sendall(text.encode() + b'\r\n')
        return connection.recv(4096).decode()


class Temporary(Folder):
    """A TMPDIR for what a case starts, which tells what was left in it."""

    def __enter__(self):
        os.environ['TMPDIR'] = super().__enter__()
        os.chmod(self.path, 0o711)
        return self

    def __exit__(self, *problem):
        del os.environ['TMPDIR']
        super().__exit__(*problem)

    def left(self):
        return [name for name in os.listdir(self.path) if name.startswith('dlock-')]


def case_kill_and_start_keep_port_and_folder():
    with Temporary() as temporary:
        with Started('redis', '--appendfsync', 'always') as redis:
            ask(redis.url, 'SET a b')
            pid = int(redis.tell('pid'))
            redis.tell('kill')
            check(gone(pid), 'the server is still there')
            with socket.socket() as other:
                other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
                try:
                    other.bind(('127.0.0.1', int(redis.tell('port'))))
                    check(False, 'somebody else could take the port')
                except OSError:
                    pass
            redis.tell('start')
            equal(ask(redis.url, 'GET a'), '$1\r\nb\r\n', 'what was kept')
        equal(temporary.left(), [], 'what is left')


def case_paused_server_is_stopped():
    with Started('redis') as redis:
        pid = int(redis.tell('pid'))
        redis.tell('pause')
        equal(state(pid), 'T', 'state')
        redis.tell('resume')
        equal(ask(redis.url, 'PING'), '+PONG\r\n', 'answer')
        redis.tell('pause')
    check(gone(pid), 'the paused server is still there')


def case_wrong_commands():
    with Started('redis') as redis:
        for command, text in (('dance', '"dance" is not a command'), ('kill 1', 'no server 1'),
                              ('start 0', 'runs already'), ('', 'not a command')):
            try:
                redis.tell(command)
                check(False, 'no error: ' + command)
            except server.Failure as error:
                check(text in str(error), '%s: %s' % (command, error))
        redis.tell('kill')
        equal(redis.tell('kill'), '', 'a second kill of all that run')


def case_several_nodes_are_apart():
    with Started('redis', '--nodes', '3') as redis:
        urls = [redis.tell('url %d' % number) for number in range(3)]
        equal(redis.url, 'redis://' + ','.join(url[len('redis://'):] for url in urls), 'URL of all')
        ask(urls[0], 'SET a b')
        equal([ask(url, 'EXISTS a') for url in urls], [':1\r\n', ':0\r\n', ':0\r\n'], 'where the key is')
        redis.tell('kill 1')
        equal(ask(urls[2], 'PING'), '+PONG\r\n', 'the others')


def case_redis_over_tls():
    with Started('redis', '--tls') as redis:
        folder = redis.tell('folder')
        check(redis.url.endswith('?ca=%s/ca.pem' % folder), redis.url)
        equal(ask(redis.url, 'PING', cafile=folder + '/ca.pem'), '+PONG\r\n', 'answer')
        try:
            ask(redis.url, 'PING', cafile=folder + '/other-ca.pem')
            check(False, 'a certificate of another authority passed')
        except ssl.SSLError:
            pass


def case_redis_at_other_addresses():
    for option, start in (('--unix', 'redis+unix:///'), ('--ipv6', 'redis://[::1]:')):
        try:
            with Started('redis', option) as redis:
                check(redis.url.startswith(start), redis.url)
                equal(ask(redis.url, 'PING'), '+PONG\r\n', option)
        except server.Skip as reason:
            raise Skip(str(reason)) from reason


def case_redis_with_users():
    with Started('redis', '--password', 'p@ss "word"', '--acl', 'alice on >secret ~a* +get') as redis:
        check(redis.url.startswith('redis://:p%40ss%20%22word%22@'), redis.url)
        equal(ask(redis.url, 'PING')[:7], '-NOAUTH', 'without a password')
        equal(ask(redis.url, 'AUTH "p@ss \\"word\\""'), '+OK\r\n', 'the default user')
        equal(ask(redis.url, 'AUTH alice secret'), '+OK\r\n', 'another user')


def case_other_servers_that_speak_redis():
    for name, line in (('redis-6', 'redis_version:6.'), ('valkey-9', 'valkey_version:9.')):
        try:
            with Started('redis', '--server', name) as redis:
                check(line in ask(redis.url, 'INFO server'), name)
        except server.Skip as reason:
            raise Skip(str(reason)) from reason


def case_postgresql_changes_roles():
    try:
        with Started('postgresql', '--standby') as pair:
            equal(pair.tell('role'), 'primary standby', 'roles')
            pair.tell('kill 0')
            pair.tell('promote 1')
            pair.tell('follow 0')
            equal(pair.tell('role'), 'standby primary', 'roles')
            pair.tell('sql 1 CREATE TABLE later (number int)')
            until(lambda: pair.tell("sql 0 SELECT count(*) FROM pg_class WHERE relname = 'later'") == '1', 'it follows')
    except server.Skip as reason:
        raise Skip(str(reason)) from reason


def case_killed_postgresql_leaves_no_shared_memory():
    with Started('postgresql') as postgresql:
        with open('/proc/%s/maps' % postgresql.tell('pid'), encoding='utf-8') as file:
            found = re.findall(r'.* (/dev/shm/.*|/SYSV.*)', file.read())
        equal([name[:5] for name in found], ['/SYSV'], 'shared memory outside of the folder')
        key = int(found[0][len('/SYSV'):].split()[0], 16)
        postgresql.tell('kill')
    with open('/proc/sysvipc/shm', encoding='ascii') as file:
        check(key not in [int(line.split()[0]) for line in file.readlines()[1:]], 'a segment is left')


def case_server_that_does_not_start():
    with Temporary() as temporary:
        done = subprocess.run([HERE + '/redis', '--config', 'nonsense 1'], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True, check=False)
        equal(done.returncode, 1, 'exit code')
        equal(done.stdout, 'error server 0 ended while it started; its log is on stderr\n', 'stdout')
        check('nonsense' in done.stderr, done.stderr)
        equal(temporary.left(), [], 'what is left')


def case_server_that_is_not_there():
    done = subprocess.run([HERE + '/with_server.py', 'redis', '--server', 'no-such-server', '--', 'false'],
                          stdout=subprocess.PIPE, universal_newlines=True, check=False)
    equal(done.returncode, 0, 'exit code')
    check(done.stdout.startswith('1..0 # SKIP there is no no-such-server'), done.stdout)


def case_with_server_runs_a_command():
    with Temporary() as temporary:
        done = subprocess.run([HERE + '/with_server.py', 'redis', '--', 'sh', '-c', 'echo "<@URL@>"; exit 7'],
                              stdout=subprocess.PIPE, universal_newlines=True, check=False)
        equal(done.returncode, 7, 'exit code')
        check(done.stdout.startswith('<redis://127.0.0.1:') and done.stdout.endswith('>\n'), done.stdout)
        equal(temporary.left(), [], 'what is left')


def case_killed_with_server_takes_everything_along():
    with Temporary() as temporary:
        with subprocess.Popen([HERE + '/with_server.py', 'redis', '--', 'sh', '-c', 'echo $$; exec sleep 1000'],
                              stdout=subprocess.PIPE, universal_newlines=True) as process:
            command = int(process.stdout.readline())
            check(temporary.left(), 'a folder')
            process.kill()
        until(lambda: gone(command), 'the end of the command')
        until(lambda: not temporary.left(), 'the end of the folder')


def end_of_script(number):
    """Sends a signal to a script with a server that hangs; the server is gone, and so it says is what is left."""
    with Temporary() as temporary:
        with subprocess.Popen([HERE + '/redis'], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                              universal_newlines=True, bufsize=1) as script:
            script.stdout.readline()
            script.stdin.write('pause\npid\n')
            script.stdin.flush()
            script.stdout.readline()
            pid = int(script.stdout.readline().split()[1])
            script.send_signal(number)
            script.wait()
        until(lambda: gone(pid), 'the end of the server')
        return temporary.left()


def case_ended_script_leaves_nothing():
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        equal(end_of_script(number), [], 'what is left after signal %d' % number)


def case_killed_script_leaves_no_server():
    end_of_script(signal.SIGKILL)


# A server of several processes, which needs no rights.
FAMILY = '''#!%s
import os, sys
sys.path.insert(0, %r)
import server

class Family(server.Server):
    user = 'nobody'

    def prepare(self):
        self.run('touch', 'prepared')

    def command(self):
        if os.path.exists(self.folder + '/me'):
            os.remove(self.folder + '/me')
        return ['sh', '-c', 'test -f prepared && sh -c "sleep 1000 & me=\\$(id -u); echo \\$me > me; wait" & wait']

    def ready(self):
        return os.path.getsize(self.folder + '/me') > 0

    def do_family(self):
        return ' '.join(map(str, server.family(self.process.pid)))

    def url(self):
        return 'family://' + self.address()

server.main(lambda folder: [Family(folder, 0)])
'''


def case_server_of_several_processes():
    with Temporary() as temporary:
        script = write(temporary.path, 'family', FAMILY % (sys.executable, HERE))
        os.chmod(script, 0o755)
        with Started(script) as family:
            pids = [int(pid) for pid in family.tell('family').split()]
            equal(len(pids), 3, 'processes')
            family.tell('pause')
            equal([state(pid) for pid in pids], ['T'] * 3, 'states')
            family.tell('kill')
            check(all(map(gone, pids)), 'some are still there')
            family.tell('start')
            equal(len(family.tell('family').split()), 3, 'processes')
            with open(family.tell('folder 0') + '/me', encoding='ascii') as file:
                equal(file.read() == '0\n', False, 'it runs as root')
        equal(temporary.left(), [], 'what is left')


main([(name[5:].replace('_', ' '), case) for name, case in list(globals().items()) if name.startswith('case_')])
