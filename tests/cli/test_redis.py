"""dlock over Redis servers, as a user types it: one, several, with TLS, with a password, and with servers that die."""
import json
import os
import subprocess

from world import Skip, World, cases, check, equal, main, read, until

SCRIPT = os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'servers', 'redis')


class Servers:
    """What the script redis starts, for the length of a with statement."""

    def __init__(self, *options):
        self.process = subprocess.Popen([SCRIPT] + list(options), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        universal_newlines=True)
        self.url = self.process.stdout.readline().strip()
        if self.url.startswith('skip '):
            raise Skip(self.url[5:])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()

    def tell(self, command):
        self.process.stdin.write(command + '\n')
        self.process.stdin.flush()
        answer = self.process.stdout.readline().split(None, 1)
        equal(answer[0], 'ok', 'answer to ' + command)
        return answer[1].strip() if len(answer) > 1 else ''

    def ports(self):
        return self.tell('port').split()


def over(w, url):
    """The commands of this world go to that store."""
    w.env.update(DLOCK_STORE=url, DLOCK_MODULE_PATH=os.environ['STORAGES'])


def case_one_server():
    with World() as w, Servers() as servers:
        over(w, servers.url)
        equal(w.expect(0, 'run', 'k', '--', 'echo', 'ran').out, 'ran\n', 'output of the command')
        w.hold()
        done = w.expect(75, 'run', '-n', 'k', '--', 'true')
        check("'k' is held by" in done.err, done)
        check(w.status()['held'] and w.status()['fence'] > 0, w.status())
        equal([each['key'] for each in json.loads(w.expect(0, 'list', '--json').out)], ['k'], 'keys')
        w.expect(0, 'check')
        w.expect(0, 'break', '--force', 'k')
        check(not w.held(), 'held after break')


def case_several_servers():
    with World() as w, Servers('--nodes', '3') as servers:
        over(w, '')
        stores = []
        for port in servers.ports():
            stores += ['-S', 'redis://127.0.0.1:%s?restart_guard_ms=0' % port]
        w.expect(0, 'run', *stores, 'k', '--', 'true')
        w.expect(0, 'acquire', *stores, '-t', '1h', 'k')
        servers.tell('kill 1')
        w.expect(75, 'run', *stores, '-n', 'k', '--', 'true')
        equal(json.loads(w.expect(0, 'status', *stores, '--json', 'k').out)['held'], True, 'held')
        check('"k"' in w.expect(0, 'list', *stores, '--json').out, 'not listed')
        check('1' in w.dlock('check', *stores).out + w.dlock('check', *stores).err, 'no warning')
        w.expect(0, 'break', *stores, '--force', 'k')
        servers.tell('kill 2')
        done = w.expect(69, 'run', *stores, '--retries', '1', 'k', '--', 'true')
        for port in servers.ports()[1:]:
            check('127.0.0.1:%s: Connection refused' % port in done.err, done)


def maps(process):
    return read('/proc/%d/maps' % process.pid)


def case_only_tls_needs_openssl():
    with World() as w, Servers() as plain, Servers('--tls') as encrypted:
        over(w, plain.url)
        process, _ = w.hold()
        check('/redis.so' in maps(process), 'the module is not loaded')
        check('libssl' not in maps(process) and 'libcrypto' not in maps(process), 'OpenSSL is loaded')
        over(w, encrypted.url)
        process, _ = w.hold()
        check('/rediss.so' in maps(process) and 'libssl' in maps(process), 'the module is not loaded')
        check(w.held(), 'not held')


def case_not_let_in():
    with World() as w, Servers('--password', 's3cr3t') as servers:
        port, = servers.ports()
        over(w, servers.url)
        w.expect(0, 'run', 'k', '--', 'true')
        for credentials, cause in (('', 'NOAUTH'), (':wrong-s3cr3t@', 'WRONGPASS'), ('me:wrong-s3cr3t@', 'WRONGPASS')):
            over(w, 'redis://%s127.0.0.1:%s' % (credentials, port))
            for command in (['run', 'k', '--', 'true'], ['status', 'k'], ['list'], ['break', '--force', 'k'], ['check']):
                done = w.dlock(*command)
                check(done.code not in (0, 75), done)
                check(cause in done.err + done.out and '127.0.0.1:' + port in done.err + done.out, done)
                check('s3cr3t' not in done.err + done.out, done)


def case_nobody_there():
    with World() as w, Servers('--password', 's3cr3t') as servers:
        over(w, servers.url)
        servers.tell('kill')
        done = w.expect(69, 'run', '--retries', '1', 'k', '--', 'true')
        check('Connection refused' in done.err and '127.0.0.1:%s' % servers.ports()[0] in done.err, done)
        check('s3cr3t' not in done.err, done)


def case_the_command_ends_when_the_server_dies():
    with World() as w, Servers() as servers:
        over(w, servers.url)
        process, pid = w.hold('k', '-t', '1s')
        servers.tell('kill')
        equal(w.end(process).code, 79, 'exit status')
        until(lambda: not os.path.exists('/proc/%d' % pid), 'the end of the command')


main(cases(globals()))
