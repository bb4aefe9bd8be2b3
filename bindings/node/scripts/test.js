// test.js [OPTION...] [FILE...]: runs the tests with node's own runner; by `npm test`. Options go to the runner; each
// FILE, such as `loop`, is one of test/, otherwise all of them are run.
'use strict'

const { spawnSync } = require('node:child_process')
const fs = require('node:fs')
const path = require('node:path')

const folder = path.join(path.dirname(__dirname), 'test')
const given = process.argv.slice(2)
const options = given.filter((word) => word.startsWith('-'))
const wanted = given.filter((word) => !word.startsWith('-'))
const all = fs.readdirSync(folder).filter((name) => /\.test\.m?js$/.test(name))
const short = (name) => name.split('.')[0]
const unknown = wanted.find((word) => !all.map(short).includes(word))
if (unknown !== undefined) {
  console.error(`test.js: there is no test "${unknown}"; expected some of: ${all.map(short).join(' ')}`)
  process.exit(1)
}
const chosen = all.filter((name) => wanted.length === 0 || wanted.includes(short(name)))
const files = chosen.map((name) => path.join(folder, name))
// A sanitizer has to be there before the addon; npm is spared it.
const env = { ...process.env, LD_PRELOAD: process.env.DLOCK_TEST_PRELOAD ?? process.env.LD_PRELOAD ?? '' }
const done = spawnSync(process.execPath, ['--expose-gc', '--test', ...options, ...files], { stdio: 'inherit', env })
process.exit(done.status ?? 1)
