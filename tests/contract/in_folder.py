#!/usr/bin/env python3
"""in_folder.py COMMAND [ARG...]: runs COMMAND with @FOLDER@ in its arguments replaced by a temporary folder.

The folder is removed afterwards. Called by tests that need a place for a file; the exit code is the command's.
"""
import subprocess
import sys
import tempfile

with tempfile.TemporaryDirectory(prefix='dlock-test-') as folder:
    sys.exit(subprocess.call([argument.replace('@FOLDER@', folder) for argument in sys.argv[1:]]))
