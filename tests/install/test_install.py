"""`make install` puts everything where it belongs, and a program built against it works.

Arguments: the source folder, the version. The release is built and installed in a temporary folder.
"""
import os
import re
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..'))
from tap import Folder, check, equal, main, needs, read, run, write

SOURCE, VERSION = sys.argv[1:3]
PREFIX = '/opt/dlock'


def make(folder, *goals):
    environment = {name: value for name, value in os.environ.items() if name not in ('MAKEFLAGS', 'MAKELEVEL')}
    return run([needs('make'), '-C', SOURCE, *goals, 'RELEASE=' + os.path.join(folder, 'build'), 'PREFIX=' + PREFIX,
                'DESTDIR=' + os.path.join(folder, 'root')], env=environment)


def installed(folder):
    """Paths below the prefix, files and empty folders; the name of the machine's library folder is taken out."""
    root = os.path.join(folder, 'root')
    found = set()
    for path, folders, names in os.walk(root):
        for name in names + [name + '/' for name in folders if not os.listdir(os.path.join(path, name))]:
            found.add(os.path.join(path, name)[len(root):].replace('/' + libdir(folder) + '/', '/lib/'))
    return found


def libdir(folder):
    """Where libraries lie below the prefix: lib, or on Debian lib/x86_64-linux-gnu."""
    root = os.path.join(folder, 'root' + PREFIX)
    for path, _, names in os.walk(root):
        if 'libdlock.so' in names:
            return os.path.relpath(path, root)
    raise AssertionError('libdlock.so is not installed')


def environment_of(folder):
    """The variables with which a program finds what lies below DESTDIR."""
    root, libraries = os.path.join(folder, 'root'), os.path.join(folder, 'root' + PREFIX, libdir(folder))
    return dict(os.environ, PKG_CONFIG_SYSROOT_DIR=root, PKG_CONFIG_PATH=os.path.join(libraries, 'pkgconfig'),
                LD_LIBRARY_PATH=libraries, DLOCK_STORE='sqlite:' + os.path.join(folder, 'locks.db'))


def pkg_config(folder, *arguments):
    return run([needs('pkg-config'), *arguments, 'dlock'], env=environment_of(folder)).strip()


def compile_and_run(folder, text, *flags):
    source, program = write(folder, 'program.c', text), os.path.join(folder, 'program')
    run([needs('cc'), *flags, source, '-o', program, *pkg_config(folder, '--cflags', '--libs').split()])
    return run([program], env=environment_of(folder))


# Modules, each with a URL that it serves.
MODULES = {
    'mongodb': 'mongodb://127.0.0.1:1/',
    'postgresql': 'postgresql://127.0.0.1:1/app',
    'redis': 'redis+unix:///nowhere/redis.sock',
    'rediss': 'rediss://127.0.0.1:1',
}


def case_files():
    expected = {PREFIX + '/' + name for name in (
        'bin/dlock', 'include/dlock.h', 'include/dlock_storage.h', 'lib/libdlock.so', 'lib/libdlock.so.0',
        'lib/libdlock.so.' + VERSION, *('lib/dlock/%s.so' % name for name in MODULES), 'lib/pkgconfig/dlock.pc', 'share/man/man1/dlock.1',
        'share/man/man3/libdlock.3', 'share/bash-completion/completions/dlock')}
    equal(sorted(installed(FOLDER)), sorted(expected), 'installed files')


def case_library_name():
    library = os.path.join(FOLDER, 'root' + PREFIX, libdir(FOLDER), 'libdlock.so')
    equal(re.findall(r'SONAME.*\[(.*)\]', run([needs('readelf'), '-d', library])), ['libdlock.so.0'], 'SONAME')
    command = os.path.join(FOLDER, 'root' + PREFIX, 'bin', 'dlock')
    check('libdlock.so.0' in re.findall(r'NEEDED.*\[(.*)\]', run([needs('readelf'), '-d', command])),
          'dlock is not linked to libdlock.so.0')


def case_pkg_config():
    equal(pkg_config(FOLDER, '--modversion'), VERSION, 'version')
    equal(pkg_config(FOLDER, '--cflags').split(), ['-I%s/root%s/include' % (FOLDER, PREFIX)], '--cflags')
    check('-ldlock' in pkg_config(FOLDER, '--libs').split(), '--libs lacks -ldlock')
    check('sqlite' not in pkg_config(FOLDER, '--libs'), 'programs link to a storage\'s library')
    # Some versions put DESTDIR in front of the folder, some do not.
    modules = '%s/%s/dlock' % (PREFIX, libdir(FOLDER))
    check(pkg_config(FOLDER, '--variable=modulesdir') in (modules, os.path.join(FOLDER, 'root') + modules),
          'the modules folder is not %s' % modules)


def case_readme_program():
    programs = re.findall(r'```c\n(.*?)```', read(os.path.join(SOURCE, 'README.md')), re.DOTALL)
    equal(len(programs), 1, 'C programs in README.md')
    output = compile_and_run(FOLDER, programs[0])
    check(re.match(r'held by \S+:\d+:\S+ with fence [1-9]\d*\n$', output), 'unexpected output: ' + output)


def case_manual_program():
    example = re.search(r'\.Bd -literal\n(.*?)\.Ed', read(os.path.join(SOURCE, 'man', 'libdlock.3')), re.DOTALL)
    program = example[1].replace('\\e', '\\') + '\nstatic bool work(void)\n{\n    return puts("worked") < 0;\n}\n'
    equal(compile_and_run(FOLDER, program, '-std=c99', '-Wall', '-Wextra', '-Werror'), 'worked\n', 'output')


def case_command():
    command = os.path.join(FOLDER, 'root' + PREFIX, 'bin', 'dlock')
    check(VERSION in run([command, '--version'], env=environment_of(FOLDER)), '--version')
    equal(run([command, 'run', 'key', '--', 'echo', 'worked'], env=environment_of(FOLDER)), 'worked\n', 'dlock run')
    # Below a prefix that the loader does not search, the command says itself where its library is.
    equal(re.findall(r'R(?:UN)?PATH.*\[(.*)\]', run([needs('readelf'), '-d', command])),
          [PREFIX + '/' + libdir(FOLDER)], 'run path')


def case_modules():
    command = os.path.join(FOLDER, 'root' + PREFIX, 'bin', 'dlock')
    modules = os.path.join(FOLDER, 'root' + PREFIX, libdir(FOLDER), 'dlock')
    for name, url in MODULES.items():
        done = subprocess.run([command, 'status', '-S', url, 'key'], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, universal_newlines=True, check=False,
                              env=dict(environment_of(FOLDER), DLOCK_MODULE_PATH=modules))
        # libmongoc may warn of shared memory that a killed process of the same number has left.
        lines = [line for line in done.stdout.splitlines() if line.startswith('dlock:')]
        check(len(lines) == 1 and lines[0].startswith('dlock: cannot inspect') and 'module' not in lines[0],
              name + ': ' + done.stdout)


def case_uninstall():
    make(FOLDER, 'uninstall')
    left = [name for _, _, names in os.walk(os.path.join(FOLDER, 'root')) for name in names]
    equal(left, [], 'files left after make uninstall')


with Folder() as FOLDER:
    main([('make install', lambda: make(FOLDER, 'install')),
          ('all files, and no others, are installed', case_files),
          ('the library has its SONAME, and dlock uses it', case_library_name),
          ('pkg-config knows flags, version and modules folder', case_pkg_config),
          ('the program of the README compiles and works', case_readme_program),
          ('the program of libdlock(3) compiles without a warning and works', case_manual_program),
          ('the installed dlock works', case_command),
          ('the installed modules are loaded for their URLs', case_modules),
          ('make uninstall removes every file', case_uninstall)])
