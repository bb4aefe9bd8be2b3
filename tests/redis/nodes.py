"""nodes - what the Python tests of Redis share: dlock on servers of their own, and a client that is not ours.

The command is the program in $DLOCK, its modules are in $MODULES.
"""
import os
import socket
import sys
import urllib.parse

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, '..', 'cli'), os.path.join(HERE, '..', 'servers')]
import server  # pylint: disable=wrong-import-position
from with_server import Started  # pylint: disable=wrong-import-position,unused-import
from world import Skip, World, check, equal, main, until, write  # pylint: disable=wrong-import-position,unused-import


class Client:
    """Speaks RESP to one node, as another library does. Words are bytes or text, replies bytes, int, None or list."""

    def __init__(self, url):
        parts = urllib.parse.urlsplit(url)
        self.socket = socket.create_connection((parts.hostname, parts.port), timeout=30)
        self.file = self.socket.makefile('rb')
        if parts.password:
            self.ask('AUTH', urllib.parse.unquote(parts.password))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()
        self.socket.close()

    def ask(self, *words):
        words = [word if isinstance(word, bytes) else str(word).encode() for word in words]
        self.socket.sendall(b'*%d\r\n' % len(words) + b''.join(b'$%d\r\n%s\r\n' % (len(w), w) for w in words))
        return self.reply()

    def reply(self):
        line = self.file.readline()
        kind, rest = line[:1], line[1:-2]
        if kind == b'-':
            raise RuntimeError(rest.decode())
        if kind == b':':
            return int(rest)
        if kind == b'$':
            return None if rest == b'-1' else self.file.read(int(rest) + 2)[:-2]
        if kind == b'*':
            return [self.reply() for _ in range(int(rest))]
        check(kind == b'+', 'no RESP: %r' % line)
        return rest


def nodes_of(url):
    """One URL per node of a URL that has several hosts."""
    parts = urllib.parse.urlsplit(url)
    return ['%s://%s' % (parts.scheme, host) for host in parts.netloc.split(',')]


class Fleet(World):
    """dlock on the nodes of a URL."""

    def __init__(self, url):
        self.url = url

    def __enter__(self):
        super().__enter__()
        self.env['DLOCK_STORE'] = self.url
        self.env['DLOCK_MODULE_PATH'] = os.environ['MODULES']
        return self


def start(name):
    """Runs the cases of a module; where there is no server, each is skipped."""
    def skipping(case):
        def run():
            try:
                case()
            except server.Skip as reason:
                raise Skip(str(reason)) from reason
        return run
    main([(each[5:], skipping(case)) for each, case in sorted(vars(sys.modules[name]).items())
          if each.startswith('case_')])
