// servers.js: private servers for tests, by the scripts in tests/servers/ of the source tree.
'use strict'

const { spawn } = require('node:child_process')
const fs = require('node:fs')
const path = require('node:path')
const readline = require('node:readline')

// A copy of this package in a build folder is told where the tree is.
const tree = process.env.DLOCK_TREE ?? path.resolve(__dirname, '..', '..', '..', '..')

/**
 * Starts a server: { url, tell(command), stop() }; { skip } with the reason where there is none. It ends with this process
 * in any case, since it looks at its stdin.
 */
async function start (name, ...options) {
  const script = path.join(tree, 'tests', 'servers', name)
  if (!fs.existsSync(script)) return { skip: `there is no ${path.relative(tree, script)}` }
  // What this process is preloaded with, such as a sanitizer, is not for servers.
  const env = { ...process.env, LD_PRELOAD: '' }
  const child = spawn(script, options, { env, stdio: ['pipe', 'pipe', 'inherit'] })
  const ended = new Promise((resolve) => child.once('close', resolve))
  const lines = readline.createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  const first = (await lines.next()).value ?? 'error it ended at once'
  const [word, ...reason] = first.split(' ')
  if (word === 'skip') return { skip: reason.join(' ') }
  if (word === 'error') throw new Error(`${name}: ${reason.join(' ')}`)
  return {
    url: first,
    async tell (command) {
      child.stdin.write(`${command}\n`)
      const answer = (await lines.next()).value ?? 'error no answer'
      if (!answer.startsWith('ok')) throw new Error(`${name}: ${command}: ${answer}`)
      return answer.slice(3)
    },
    async stop () {
      child.stdin.end()
      await ended
    }
  }
}

module.exports = { start, tree }
