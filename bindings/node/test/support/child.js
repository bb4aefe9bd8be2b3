// child.js: runs a piece of JavaScript in a process of its own, with the package as `LocksFactory`.
'use strict'

const { execFile } = require('node:child_process')
const path = require('node:path')

const root = path.dirname(path.dirname(__dirname))

/** Resolves to { code, stdout, stderr } when the process has ended: by itself, or by SIGTERM where it would not. */
function run (source, args = []) {
  const begin = `const LocksFactory = require(${JSON.stringify(root)});`
  const code = `${begin} (async () => { ${source} })().catch((error) => { console.error(error); process.exitCode = 1 })`
  return new Promise((resolve) => {
    execFile(process.execPath, ['--expose-gc', '-e', code, ...args], { timeout: 120000 }, (error, stdout, stderr) => {
      resolve({ code: error ? error.code ?? error.signal : 0, stdout, stderr })
    })
  })
}

module.exports = { root, run }
