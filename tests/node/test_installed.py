"""The package for Node.js where libdlock is installed, found by pkg-config, and not in the tree of its source.

Argument: a folder for the build, the prefix and the copies, kept for the next time.
"""
import json
import os
import re
import shutil
import subprocess
import sys

import run as package

sys.path.insert(0, os.path.join(package.TREE, 'tests'))
from tap import Skip, check, equal, main, needs, run

FOLDER = os.path.abspath(sys.argv[1])
PREFIX, COPY, PROJECT = (os.path.join(FOLDER, name) for name in ('prefix', 'package', 'project'))

# Of every module the URL of a place where nobody answers; what says so is the module.
PROGRAM = """
const LocksFactory = require('distributed-locks')
const { SqliteStorage, RedisStorage, PostgresqlStorage, MongoStorage } = LocksFactory
async function main () {
  const factory = new LocksFactory(new SqliteStorage({ path: process.argv[1] }))
  console.log(await factory.using('key', async (signal, lock) => lock.held && lock.fence > 0n))
  for (const storage of [new RedisStorage({ url: 'redis://127.0.0.1:1' }),
    new PostgresqlStorage({ host: '127.0.0.1', port: 1 }), new MongoStorage({ url: 'mongodb://127.0.0.1:1' })]) {
    await new LocksFactory(storage, { timeout: 0.5 }).inspect('key').catch((error) => console.log(error.code))
  }
}
main()
"""


def environment():
    """Without what tells of a build folder, and of modules; with what finds the prefix."""
    left = {name: value for name, value in os.environ.items() if not name.startswith(('DLOCK_', 'LD_', 'MAKE'))}
    found = [path for path, _, names in os.walk(PREFIX) if 'dlock.pc' in names]
    return dict(left, PKG_CONFIG_PATH=':'.join(found))


def npm(folder, *words):
    done = subprocess.run([needs('npm'), *words], cwd=folder, env=environment(), stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True, check=False)
    return done.returncode, done.stdout


def npm_install(folder, *words):
    """Installs; skips the case where npm cannot get what the package depends on."""
    options = ['--no-audit', '--no-fund', '--prefer-offline']
    code, output = npm(folder, 'install', *options, *words)
    if code != 0 and npm(folder, 'install', *options, '--ignore-scripts', *words)[0] != 0:
        raise Skip('npm cannot get what the package depends on')
    return code, output


def case_install_library():
    needs('node')
    # A folder in front, even the topmost, keeps the loader's list of this machine as it is.
    run([needs('make'), '-C', package.TREE, 'install', 'RELEASE=' + os.path.join(FOLDER, 'build'), 'PREFIX=' + PREFIX,
         'DESTDIR=/'], env=environment())


def case_without_library():
    package.copy(COPY)
    shutil.rmtree(os.path.join(COPY, 'build'), ignore_errors=True)
    done = subprocess.run([needs('node'), 'scripts/build.js'], cwd=COPY, stdin=subprocess.DEVNULL, check=False,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True,
                          env=dict(environment(), PKG_CONFIG_PATH='',
                                   PKG_CONFIG_LIBDIR=os.path.join(FOLDER, 'nowhere')))
    equal(done.returncode, 1, 'exit code')
    check('libdlock is not there. Build it' in done.stdout, done.stdout)


def case_npm_install():
    package.copy(COPY)
    code, output = npm_install(COPY)
    equal(code, 0, output)
    addon = os.path.join(COPY, 'build', 'dlock.node')
    needed = run([needs('ldd'), addon], env=environment())
    check(re.search(r'libdlock\.so\.0 => %s/' % re.escape(PREFIX), needed), needed)


def case_npm_test():
    code, output = npm(COPY, 'test', '--silent', '--', '--test-reporter=tap', 'package')
    equal(code, 0, output)


def project(*words):
    """A project that depends on the package, as `npm pack` makes it."""
    os.makedirs(PROJECT, exist_ok=True)
    shutil.rmtree(os.path.join(PROJECT, 'node_modules'), ignore_errors=True)
    with open(os.path.join(PROJECT, 'package.json'), 'w', encoding='utf-8') as file:
        json.dump({'name': 'project', 'private': True}, file)
    code, output = npm(COPY, 'pack', '--silent', '--pack-destination', PROJECT)
    equal(code, 0, output)
    code, output = npm_install(PROJECT, './' + output.split()[-1], *words)
    equal(code, 0, output)


def case_dependency():
    project()
    store = os.path.join(PROJECT, 'locks.db')
    equal(run([needs('node'), '-e', PROGRAM, store], cwd=PROJECT, env=environment()).split(),
          ['true', 'UNAVAILABLE', 'UNAVAILABLE', 'UNAVAILABLE'], 'a hold of SQLite, and the modules')


def case_without_addon():
    project('--ignore-scripts')
    program = "try { require('distributed-locks') } catch (error) { console.log(error.message) }"
    output = run([needs('node'), '-e', program], cwd=PROJECT, env=environment())
    check('not built; `npm rebuild distributed-locks`' in output, output)
    code, output = npm(PROJECT, 'rebuild', 'distributed-locks')
    equal(code, 0, output)
    equal(run([needs('node'), '-e', program], cwd=PROJECT, env=environment()), '', 'complaint')


main([('make install below a prefix', case_install_library),
      ('npm install says what is missing where there is no libdlock', case_without_library),
      ('npm install takes the library that pkg-config finds', case_npm_install),
      ('npm test', case_npm_test),
      ('the package as a dependency, packed: storages of all modules', case_dependency),
      ('the package as a dependency whose install script did not run', case_without_addon)])
