"""packets - loses packets of a torture run, in a network namespace of its own, where nothing else of the machine is.

Called by torture.py if the plan has a fault that needs it. Unlike the proxies, this leaves it to TCP what becomes of what
was lost.
"""
import ctypes
import fcntl
import os
import shutil
import socket
import struct
import subprocess

import server

CLONE_NEWNET = 0x40000000
SIOCSIFFLAGS, IFF_UP = 0x8914, 1
NFT = shutil.which('nft', path=os.environ.get('PATH', '') + ':/usr/sbin:/sbin')


def enter_namespace():
    """For this process and all that it starts from now on."""
    if not NFT:
        raise server.Skip('there is no nft; scripts/install-deps test gets it')
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET) != 0:
        raise server.Skip('no network of its own: %s; expected root, or `unshare -r`' % os.strerror(ctypes.get_errno()))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack('16sH14x', b'lo', IFF_UP))
    nft('add table inet torture; add chain inet torture input { type filter hook input priority 0; }')


def lose(ports, ways):
    """Ways: dport = what goes to these ports; sport = what comes from them; or both."""
    nft('; '.join('add rule inet torture input tcp %s { %s } drop' % (way, ', '.join(map(str, ports))) for way in ways))


def lose_none():
    nft('flush chain inet torture input')


def nft(commands):
    done = subprocess.run([NFT, commands], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          universal_newlines=True, check=False)
    if done.returncode != 0:
        raise server.Skip('packets cannot be lost here: ' + ' '.join(done.stdout.split()))
