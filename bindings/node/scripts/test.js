// test.js: runs the tests with node's own runner; by `npm test`. Arguments go to the runner.
'use strict'

const { spawnSync } = require('node:child_process')
const fs = require('node:fs')
const path = require('node:path')

const folder = path.join(path.dirname(__dirname), 'test')
const files = fs.readdirSync(folder).filter((name) => /\.test\.m?js$/.test(name)).map((name) => path.join(folder, name))
const done = spawnSync(process.execPath, ['--expose-gc', '--test', ...process.argv.slice(2), ...files], { stdio: 'inherit' })
process.exit(done.status ?? 1)
