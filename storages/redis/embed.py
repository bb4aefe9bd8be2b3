#!/usr/bin/env python3
"""embed.py LUA HEADER: writes the script as a C string, and its SHA-1, which is its name for EVALSHA, into a header.

Called by the build. Comments and blank lines stay out of what is sent.
"""
import hashlib
import sys

with open(sys.argv[1], encoding='ascii') as file:
    lines = [line.strip() for line in file]
script = '\n'.join(line for line in lines if line and not line.startswith('--')) + '\n'
with open(sys.argv[2], 'w', encoding='ascii') as file:
    file.write('/* Made from lock.lua by embed.py. */\n')
    file.write('#define LOCK_SCRIPT_SHA1 "%s"\n' % hashlib.sha1(script.encode()).hexdigest())
    file.write('#define LOCK_SCRIPT')
    for line in script.splitlines():
        file.write(' \\\n    "%s\\n"' % line.replace('\\', '\\\\').replace('"', '\\"'))
    file.write('\n')
