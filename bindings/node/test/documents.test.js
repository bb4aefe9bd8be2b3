// documents.test.js: what the documents show of this package runs: the programs of the READMEs, and the right-hand sides of
// the tables of coming-from.md.
'use strict'

const assert = require('node:assert/strict')
const { execFile } = require('node:child_process')
const fs = require('node:fs')
const path = require('node:path')
const { after, before, describe, test } = require('node:test')

const LocksFactory = require('..')
const { root } = require('./support/child')
const { start, tree } = require('./support/servers')

const { RedisStorage } = LocksFactory

const read = (...names) => fs.readFileSync(path.join(...names), 'utf8')
const URL_SHOWN = 'redis://cache.example'
const AsyncFunction = (async () => {}).constructor
const WORDS = ['code', 'wait'] // properties and options that are only named

/** The JavaScript programs of a document. */
function programs (text) {
  return [...text.matchAll(/^```js\n(.*?)^```/gms)].map((match) => match[1])
}

/** The pieces of code in the last column of a document's tables. */
function rightSides (text) {
  const rows = text.split('\n').filter((line) => /^\|.*\|.*\|$/.test(line)).map((line) => line.split('|'))
  return rows.flatMap((cells) => [...cells.at(-2).matchAll(/`([^`]+)`/g)].map((match) => match[1]))
}

describe('documents', () => {
  let server
  let urls // of each node

  before(async () => {
    server = await start('redis', '--nodes', '3', '--appendfsync', 'always')
    urls = server.url?.slice('redis://'.length).split(',').map((host) => `redis://${host}`)
  })

  after(async () => {
    await server?.stop?.()
  })

  function over (name, body) {
    test(name, (context) => server.skip ? context.skip(server.skip) : body(context))
  }

  /** Runs a program of its own, which has to end by itself and to complain of nothing; resolves to what it printed. */
  function run (program) {
    const source = `globalThis.work = globalThis.report = async ({ signal }) => console.log('worked', signal.aborted)
      ${program.replaceAll(URL_SHOWN, urls[0])}`
    return new Promise((resolve, reject) => {
      execFile(process.execPath, ['--input-type=module', '-e', source], { cwd: root }, (error, stdout, stderr) => {
        if (error || stderr) reject(error ?? new Error(stderr))
        else resolve(stdout)
      })
    })
  }

  const withFactory = `import LocksFactory, { RedisStorage } from 'distributed-locks'
    const locksFactory = new LocksFactory(new RedisStorage({ url: '${URL_SHOWN}' }))\n`

  over('the programs of the README of this package', async () => {
    const [first, second, ...more] = programs(read(root, 'README.md'))
    assert.deepEqual(more, [])
    assert.match(first, /^import /)
    assert.equal(await run(first), '')
    assert.equal(await run(withFactory + second), 'worked false\n')
  })

  over('the program of the README of the source tree', async (context) => {
    if (!fs.existsSync(path.join(tree, 'README.md'))) return context.skip('there is no source tree')
    const [program, ...more] = programs(read(tree, 'README.md'))
    assert.deepEqual(more, [])
    assert.equal(await run(program), 'worked false\n')
  })

  over('what to write instead of what other packages have, of coming-from.md', async () => {
    const [urlA, urlB, urlC] = urls
    const factory = new LocksFactory(new RedisStorage({ url: [urlA, urlB, urlC] }))
    const sides = rightSides(read(root, 'coming-from.md').split('## From `redlock`')[1])
    assert.ok(sides.length > 15, `only ${sides.length} were found`)
    for (const code of sides) {
      const lock = factory.createLock('key')
      const given = { LocksFactory, RedisStorage, urlA, urlB, urlC, factory, lock }
      if (/^\w+$/.test(code)) {
        assert.ok(WORDS.includes(code) || code in LocksFactory, `there is no ${code}`)
      } else if (/^\w+: /.test(code)) {
        assert.equal(await lock.lock(new Function(`return { ${code} }`)()), true, code)
      } else {
        if (/^lock\.(?!lock)/.test(code)) await lock.lock()
        const whole = code.replaceAll('=> ...', '=> {}')
        const body = code.startsWith('const lock') ? `${whole}; await lock.unlock()` : `await (${whole})`
        await new AsyncFunction(...Object.keys(given), `{ ${body} }`)(...Object.values(given))
      }
      await lock.unlock()
    }
    await factory.close()
  })
})
