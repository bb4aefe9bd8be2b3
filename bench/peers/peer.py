#!/usr/bin/env python3
"""peer.py NAME URL: the locks of Python's packages, and commands of the shell, for run.py, which says what the orders and
answers are. A thread for each caller. A new peer is one more class, and one more line in PEERS.
"""
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import threading
import time

TTL = 30  # seconds, as every peer's


def version_of(package):
    return '%s %s' % (package, importlib.metadata.version(package))


class RedisPy:
    """The lock that comes with redis-py."""

    def __init__(self, url):
        import redis
        self.client = redis.Redis.from_url(url)
        self.version = version_of('redis')

    def lock(self, key):
        return self.client.lock(key, timeout=TTL)


class PythonRedisLock(RedisPy):
    def __init__(self, url):
        super().__init__(url)
        import redis_lock
        self.module = redis_lock
        self.version = '%s, %s' % (version_of('python-redis-lock'), self.version)

    def lock(self, key):
        return self.module.Lock(self.client, key, expire=TTL)


class Pottery(RedisPy):
    def __init__(self, url):
        nodes = url.replace('redis://', '').split(',')
        super().__init__('redis://' + nodes[0])
        import pottery
        import redis
        self.masters = {redis.Redis.from_url('redis://' + node) for node in nodes}
        self.module = pottery
        self.version = '%s, %s' % (version_of('pottery'), self.version)

    def lock(self, key):
        return self.module.Redlock(key=key, masters=self.masters, auto_release_time=TTL)


class Command:
    """A command that runs another one while it holds a lock. The other one is `true`; to hold, a shell that says when it
    begins, and runs until its input ends."""

    def __init__(self, folder):
        self.folder = folder
        self.version = self.find_version()

    def find_version(self):
        return subprocess.check_output(['flock', '--version'], universal_newlines=True).strip()

    def words(self, key):
        return ['flock', os.path.join(self.folder, key)]

    def lock(self, key):
        return Running(self.words(key))


class Lckdo(Command):
    def find_version(self):
        return 'moreutils ' + subprocess.check_output(['dpkg-query', '-W', '-f', '${Version}', 'moreutils'],
                                                      universal_newlines=True)

    def words(self, key):
        return ['lckdo', '-w', os.path.join(self.folder, key)]


class DlockRun(Command):
    def find_version(self):
        return subprocess.check_output([os.environ['DLOCK'], '--version'], universal_newlines=True).strip()

    def words(self, key):
        return [os.environ['DLOCK'], 'run', '-t', '%ds' % TTL, '-S', 'sqlite:%s/locks.db' % self.folder, key, '--']


class Running:
    """One run of such a command; acquire and release are its begin and end."""
    process = None

    def __init__(self, words):
        self.words = words

    def pair(self):
        subprocess.run(self.words + ['true'], check=True)

    def acquire(self):
        self.process = subprocess.Popen(self.words + ['sh', '-c', 'echo; read line'], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE)
        self.process.stdout.read(1)

    def release(self):
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


PEERS = {'redis-py': RedisPy, 'python-redis-lock': PythonRedisLock, 'pottery': Pottery, 'flock': Command, 'lckdo': Lckdo,
         'ours': DlockRun}


def pair(lock):
    if isinstance(lock, Running):
        return lock.pair()
    lock.acquire()
    return lock.release()


def now():
    return time.monotonic() * 1e6


def pairs(peer, seconds):
    took, begin = [], now()
    end = begin + float(seconds) * 1e6
    while begin < end:
        pair(peer.lock('pairs'))
        took.append(now() - begin)
        begin = now()
    took.sort()
    return {'median_us': took[len(took) // 2], 'p99_us': took[len(took) * 99 // 100]}


def callers(peer, count, seconds):
    counts = []

    def call(number):
        done, end = 0, now() + float(seconds) * 1e6
        while now() < end:
            pair(peer.lock('callers-%d' % number))
            done += 1
        counts.append(done)
    threads = [threading.Thread(target=call, args=[number]) for number in range(int(count))]
    begin = now()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {'per_second': sum(counts) / (now() - begin) * 1e6}


def main():
    name, url = sys.argv[1:]
    peer = PEERS[name](url)
    print(json.dumps({'version': peer.version, 'runtime': 'Python ' + platform.python_version()}), flush=True)
    held = None
    for line in sys.stdin:
        order, *words = line.split()
        answer = {}
        if order == 'pairs':
            answer = pairs(peer, *words)
        elif order == 'callers':
            answer = callers(peer, *words)
        elif order == 'acquire':
            held = peer.lock(*words)
            held.acquire()
            answer = {'at_us': now()}
        elif order == 'release':
            answer = {'at_us': now()}
            held.release()
        elif order == 'waiters':
            for _ in range(int(words[0])):
                threading.Thread(target=peer.lock(words[1]).acquire, daemon=True).start()
        else:
            sys.exit('peer.py: "%s" is not an order' % order)
        print(json.dumps(answer), flush=True)
    os._exit(0)  # threads may wait for keys still


if __name__ == '__main__':
    main()
