#!/usr/bin/env python3
"""with_server.py NAME [OPTION...] -- COMMAND [ARG...]: runs COMMAND while the server NAME runs.

@URL@ in the command's arguments becomes the server's URL. The exit code is the command's. Where there is no such
server, it says so as a test that was skipped. Started is for tests in Python.
"""
import os
import subprocess
import sys

import server


class Started:
    """A server for the length of a with statement: `url`, and tell(command)."""

    def __init__(self, name, *options):
        script = os.path.join(os.path.dirname(os.path.abspath(__file__)), name)
        self.process = subprocess.Popen([script, *options], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        universal_newlines=True)
        self.url = self.process.stdout.readline().strip()
        word, _, reason = self.url.partition(' ')
        if reason or not word:
            self.__exit__()
            raise (server.Skip if word == 'skip' else server.Failure)(reason or 'the script %s ended at once' % name)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()

    def tell(self, command):
        """Gives a command; returns what stands behind `ok`."""
        self.process.stdin.write(command + '\n')
        self.process.stdin.flush()
        word, _, rest = self.process.stdout.readline().strip().partition(' ')
        if word != 'ok':
            raise server.Failure('%s: %s' % (command, rest or 'no answer'))
        return rest


def main():
    words = sys.argv[1:]
    if '--' not in words[1:-1]:
        sys.exit('with_server.py: expected NAME [OPTION...] -- COMMAND [ARG...]')
    end = words.index('--')
    try:
        with Started(*words[:end]) as started:
            command = [word.replace('@URL@', started.url) for word in words[end + 1:]]
            # What kills this process leaves the command without a server, so it is to end as well.
            done = subprocess.call(command, preexec_fn=server.die_with_parent(os.getpid()))
    except server.Skip as reason:
        print('1..0 # SKIP %s' % reason)
        return 0
    except server.Failure as error:
        print('1..1\nnot ok 1 - server\n# %s' % error)
        return 1
    return done if done >= 0 else 128 - done


if __name__ == '__main__':
    sys.exit(main())
