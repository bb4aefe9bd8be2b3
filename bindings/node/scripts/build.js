// build.js: compiles the addon; run by `npm install`. Downloads nothing: the headers of Node-API come from the package
// node-api-headers, libdlock from, in this order,
//   - the meson build folder that $DLOCK_BUILD names,
//   - build/release or build/dev of the source tree that this package lies in,
//   - the system, by pkg-config.
// $CC and $CFLAGS are the compiler and what it is told besides.
'use strict'

const { spawnSync } = require('node:child_process')
const fs = require('node:fs')
const path = require('node:path')

const root = path.dirname(__dirname)

function fail (message) {
  console.error(`distributed-locks: ${message}`)
  process.exit(1)
}

function run (program, args, environment) {
  const done = spawnSync(program, args, { encoding: 'utf8', env: { ...process.env, ...environment } })
  if (done.error) fail(`${program} is needed to build the addon: ${done.error.message}`)
  return done
}

function isBuild (folder) {
  return fs.existsSync(path.join(folder, 'meson-uninstalled', 'dlock-uninstalled.pc')) &&
    fs.existsSync(path.join(folder, 'src', 'libdlock.so'))
}

function findBuild () {
  if (process.env.DLOCK_BUILD) {
    const folder = path.resolve(process.env.DLOCK_BUILD)
    return isBuild(folder) ? folder : fail(`DLOCK_BUILD is ${folder}, in which libdlock has not been built by meson`)
  }
  const tree = path.dirname(path.dirname(root))
  if (!fs.existsSync(path.join(tree, 'include', 'dlock.h'))) return undefined
  return ['release', 'dev'].map((name) => path.join(tree, 'build', name)).find(isBuild)
}

function pkgConfig (build, ...args) {
  const environment = build ? { PKG_CONFIG_PATH: path.join(build, 'meson-uninstalled') } : {}
  const done = run('pkg-config', [...args, 'dlock'], environment)
  if (done.status !== 0) {
    fail('libdlock is not there. Build it (`make` in the source tree, or DLOCK_BUILD=its build folder), or install it ' +
      `so that pkg-config finds dlock.\n${done.stderr}`)
  }
  return done.stdout.trim()
}

const build = findBuild()
const words = (text) => text.split(/\s+/).filter(Boolean)
const target = path.join(root, 'build', 'dlock.node')
const libraries = build ? path.join(build, 'src') : pkgConfig(build, '--variable=libdir')
// What meson writes for a library that is not installed lacks the folder of the headers.
const headers = build ? [`-I${path.join(pkgConfig(build, '--variable=srcdir'), 'include')}`] : words(pkgConfig(build, '--cflags'))
const flags = ['-std=gnu11', '-O2', '-Wall', '-Wextra', '-Werror', '-fPIC', '-shared', '-fvisibility=hidden', '-pthread',
  '-DNAPI_VERSION=8', '-isystem', require('node-api-headers').include_dir, ...headers]
if (build) flags.push(`-DDLOCK_NODE_MODULES="${path.join(build, 'storages')}"`)
flags.push(...words(process.env.CFLAGS ?? ''))
const sources = ['addon.c', 'asker.c', 'factory.c', 'lookout.c'].map((name) => path.join(root, 'src', name))

fs.mkdirSync(path.dirname(target), { recursive: true })
const done = run(process.env.CC || 'cc', [...flags, ...sources, '-o', `${target}.new`, ...words(pkgConfig(build, '--libs')),
  `-Wl,-rpath,${libraries}`])
if (done.status !== 0) fail(`the addon does not compile:\n${done.stderr}`)
// A process that has the old one loaded keeps it.
fs.renameSync(`${target}.new`, target)
console.log(`distributed-locks: built with libdlock of ${build || `the system (${pkgConfig(build, '--modversion')})`}`)
