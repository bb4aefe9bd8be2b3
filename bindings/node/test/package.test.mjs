// package.test.mjs: what the package exports, arguments and their checks, URLs, and storages of the user's own.
import assert from 'node:assert/strict'
import { createRequire } from 'node:module'
import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'

import LocksFactory, {
  FailedToObtainKey, LockError, MongoStorage, PostgresqlStorage, RedisStorage, SqliteStorage
} from 'distributed-locks'
import { RedisStorage as FromRedis } from 'distributed-locks/redis'
import { PostgresqlStorage as FromPostgresql } from 'distributed-locks/postgresql'
import { MongoStorage as FromMongodb } from 'distributed-locks/mongodb'
import { SqliteStorage as FromSqlite } from 'distributed-locks/sqlite'

const require = createRequire(import.meta.url)
const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)))
const { urlOf } = require('../lib/storages.js')

test('ES modules, CommonJS and the subpaths have the same classes', () => {
  const common = require('distributed-locks')
  assert.equal(common, LocksFactory)
  assert.equal(common.default, LocksFactory)
  assert.equal(common.FailedToObtainKey, FailedToObtainKey)
  assert.equal(FromRedis, RedisStorage)
  assert.equal(FromPostgresql, PostgresqlStorage)
  assert.equal(FromMongodb, MongoStorage)
  assert.equal(FromSqlite, SqliteStorage)
  assert.equal(require('distributed-locks/redis').RedisStorage, RedisStorage)
  assert.equal(require('distributed-locks/postgresql').PostgresqlStorage, PostgresqlStorage)
  assert.equal(require('distributed-locks/mongodb').MongoStorage, MongoStorage)
  assert.equal(require('distributed-locks/sqlite').SqliteStorage, SqliteStorage)
})

const compiler = path.join(root, 'node_modules', 'typescript', 'lib')
const compilerMissing = !fs.existsSync(compiler) && 'typescript is not installed'
const types = path.join(root, 'test', 'types')

for (const project of ['tsconfig.json', 'using.json']) {
  test(`types: ${project}`, { skip: compilerMissing }, () => {
    const command = [path.join(compiler, 'tsc.js'), '-p', path.join(types, project)]
    const done = spawnSync(process.execPath, command, { encoding: 'utf8' })
    assert.equal(done.stdout, '')
    assert.equal(done.status, 0)
  })
}

const urls = [
  [new RedisStorage({ url: 'redis://:pw@host:6379/0' }), 'redis://:pw@host:6379/0'],
  [new RedisStorage({ url: 'redis://host', keyPrefix: 'my locks&x' }), 'redis://host?prefix=my%20locks%26x'],
  [new RedisStorage({ url: 'redis://h?db=2&prefix=a', keyPrefix: 'b' }), 'redis://h?db=2&prefix=b'],
  [new RedisStorage({ url: ['redis://a', 'redis://b?db=1'], keyPrefix: 'p' }), 'redis://a?prefix=p redis://b?db=1&prefix=p'],
  [new RedisStorage(), 'redis://127.0.0.1:6379'],
  [new PostgresqlStorage({
    keyPrefix: 'p', tableName: 't', database: 'd/b', host: 'h', port: 5432, username: 'u@', password: 'p:/?#@%'
  }), 'postgresql://u%40:p%3A%2F%3F%23%40%25@h:5432/d%2Fb?prefix=p&table=t'],
  [new PostgresqlStorage({ host: '::1', port: '5432', database: 'd', username: 'u', password: 'p' }),
    'postgresql://u:p@[::1]:5432/d'],
  [new PostgresqlStorage({ host: '/run/postgresql', database: 'd' }), 'postgresql://%2Frun%2Fpostgresql/d'],
  [new PostgresqlStorage({ url: 'postgres://u:p@h:1/d?sslmode=require', host: 'x', tableName: 't' }),
    'postgresql://u:p@x:1/d?sslmode=require&table=t'],
  [new PostgresqlStorage({ url: 'postgresql://u:p@h1:1,h2:2/d', password: 'q' }), 'postgresql://u:q@h1:1,h2:2/d'],
  [new PostgresqlStorage({ port: 5 }), 'postgresql://localhost:5'],
  [new MongoStorage({ url: 'mongodb://h:1', database: 'd' }), 'mongodb://h:1/?database=d'],
  [new MongoStorage({ url: 'mongodb://a,b/x?replicaSet=r', database: 'd', collectionName: 'c' }),
    'mongodb://a,b/x?replicaSet=r&database=d&collection=c'],
  [new SqliteStorage({ path: '/srv/a b%?#.db' }), 'sqlite:/srv/a%20b%25%3F%23.db'],
  [new SqliteStorage({ path: 'x.db' }), `sqlite:${process.cwd().split('/').map(encodeURIComponent).join('/')}/x.db`],
  [new SqliteStorage(), 'sqlite:']
]

for (const [storage, url] of urls) {
  test(`URL ${url.replace(process.cwd(), '.')}`, () => assert.equal(urlOf(storage), url))
}

test('bad arguments are INVALID, say what was expected, and show no password', async () => {
  const invalid = (expected) => (error) => {
    assert.ok(error instanceof LockError && !(error instanceof FailedToObtainKey))
    assert.equal(error.code, 'INVALID')
    assert.match(error.message, expected)
    assert.ok(!error.message.includes('secret'))
    return true
  }
  for (const storage of [undefined, null, {}, 'redis://host', { set () {} }]) {
    assert.throws(() => new LocksFactory(storage), invalid(/no storage/))
  }
  assert.throws(() => new RedisStorage({ url: 5 }), invalid(/url is 5; expected a string/))
  assert.throws(() => new RedisStorage({ url: 'http://u:secret@h' }), invalid(/redis:/))
  assert.throws(() => new RedisStorage({ url: [] }), invalid(/empty/))
  assert.throws(() => new RedisStorage('redis://h'), invalid(/one object/))
  assert.throws(() => new PostgresqlStorage({ url: 'secret' }), invalid(/postgresql:/))
  assert.throws(() => new PostgresqlStorage({ host: 'h', port: 'x' }), invalid(/port/))
  assert.throws(() => new MongoStorage({ database: 'd' }), invalid(/url is undefined/))
  assert.throws(() => new SqliteStorage({ path: '' }), invalid(/path/))
  const factory = new LocksFactory(new SqliteStorage({ path: path.join(root, 'not', 'there.db') }))
  for (const key of [undefined, 5, 'a\0b', '\ud800']) assert.throws(() => factory.createLock(key), invalid(/key/))
  const lock = factory.createLock('key')
  const bad = [
    [{ ttl: 0 }, /ttl/], [{ ttl: '10' }, /ttl is "10"/], [{ ttl: -1 }, /ttl/], [{ ttl: NaN }, /ttl/], [{ ttl: 1e9 }, /ttl/],
    [{ retries: 0 }, /retries/], [{ retires: 1.5 }, /retries/], [{ retries: '3' }, /retries/], [{ interval: -1 }, /interval/],
    [{ interval: 1e6 }, /interval/], [{ wait: 'x' }, /wait/], [{ signal: {} }, /signal/], ['x', /options/]
  ]
  for (const [options, expected] of bad) await assert.rejects(lock.lock(options), invalid(expected))
  await assert.rejects(factory.createLock('').lock(), invalid(/key/))
  await assert.rejects(factory.createLock('x'.repeat(513)).lock(), invalid(/key/))
  await assert.rejects(factory.using('key'), invalid(/function/))
  await assert.rejects(new LocksFactory(new RedisStorage({ url: 'redis://u:secret@h?nonsense=1' })).init(), invalid(/nonsense/))
  await assert.rejects(new LocksFactory(new RedisStorage(), { timeout: 1e6 }).init(), invalid(/timeout/))
  await factory.close()
  await assert.rejects(factory.init(), invalid(/closed/))
})

test('a machineId may be anything', async () => {
  const factory = new LocksFactory(new SqliteStorage({ path: path.join(root, 'not', 'there.db') }), { machineId: 'a b:ü'.repeat(40) })
  await factory.init()
  await factory.close()
})

/** As in the npm package's documentation: a class of the user's own. */
class MapStorage {
  values = new Map()
  calls = []

  async init () {
    this.calls.push('init')
  }

  async set (key, value, { ttl }) {
    const entry = this.values.get(key)
    if (entry && entry.until > performance.now()) return false
    this.values.set(key, { value, until: performance.now() + ttl * 1000 })
    return true
  }

  async unSet (key, value) {
    if (this.values.get(key)?.value === value) this.values.delete(key)
    return true
  }

  async close () {
    this.calls.push('close')
  }
}

test('a storage of the user\'s own', async () => {
  const storage = new MapStorage()
  const factory = new LocksFactory(storage, { machineId: 'mine' })
  const lock = factory.createLock('key')
  assert.equal(await lock.unlock(), true)
  assert.equal(await lock.lock({ ttl: 5 }), true)
  assert.equal(lock.held, true)
  assert.equal(lock.fence, 0n)
  assert.ok(lock.remaining > 0 && lock.remaining <= 5)
  assert.match(storage.values.get('key').value, /^mine:/)
  const other = factory.createLock('key')
  await assert.rejects(other.lock({ retires: 2, interval: 0.01 }), (error) =>
    error instanceof FailedToObtainKey && error.key === 'key')
  await assert.rejects(other.lock({ wait: 0.05, interval: 0.01 }), FailedToObtainKey)
  const waiting = other.lock({ wait: 60, interval: 0.01 })
  assert.equal(await lock.unlock(), true)
  assert.equal(await waiting, true)
  await other.unlock()
  assert.equal(storage.values.size, 0)

  await lock.lock({ ttl: 0.05 })
  await new Promise((resolve) => lock.once('lost', resolve))
  assert.equal(await other.lock({ retries: 100, interval: 0.01 }), true)
  await lock.unlock()
  assert.equal(storage.values.size, 1)
  await other.unlock()

  for (const call of [lock.lock({ renew: true }), factory.inspect('key'), factory.list(), factory.break('key')]) {
    await assert.rejects(call, { code: 'UNSUPPORTED' })
  }
  let left = 0
  for (let i = 0; i < 10 && left < 0.025; i++) { // of a tenth of the ttl; the loop may be late, but not each time
    left = await factory.using('key', { ttl: 0.5 }, (signal, lock) =>
      new Promise((resolve) => signal.addEventListener('abort', () => resolve(lock.remaining))))
  }
  assert.ok(left >= 0.025, `the signal was aborted ${left} s before validity was over`)
  assert.equal(storage.values.size, 0)
  const controller = new AbortController()
  await lock.lock({ ttl: 5 })
  const aborted = other.lock({ wait: Infinity, signal: controller.signal })
  controller.abort()
  await assert.rejects(aborted, { name: 'AbortError' })
  await factory.close()
  assert.equal(storage.values.size, 0)
  assert.deepEqual(storage.calls, ['init', 'close'])
})

test('an error of the user\'s own storage is handed on', async () => {
  const storage = new MapStorage()
  storage.set = async () => { throw new Error('mine') }
  await assert.rejects(new LocksFactory(storage).createLock('key').lock(), { message: 'mine' })
})

test('what a storage of the user\'s own grants after the signal is given back', async () => {
  const storage = new MapStorage()
  const controller = new AbortController()
  storage.set = async (...words) => {
    controller.abort()
    return MapStorage.prototype.set.apply(storage, words)
  }
  await assert.rejects(new LocksFactory(storage).createLock('key').lock({ signal: controller.signal }), { name: 'AbortError' })
  assert.equal(storage.values.size, 0)
})

const noDispose = !Symbol.asyncDispose && 'this node has no Symbol.asyncDispose'

test('Symbol.asyncDispose', { skip: noDispose }, async () => {
  const storage = new MapStorage()
  const factory = new LocksFactory(storage)
  const lock = factory.createLock('key')
  await lock.lock()
  await lock[Symbol.asyncDispose]()
  assert.equal(storage.values.size, 0)
  await factory[Symbol.asyncDispose]()
  assert.deepEqual(storage.calls, ['init', 'close'])
})

function understands (source) {
  try {
    return Boolean(new Function(source))
  } catch {
    return false
  }
}

const noSyntax = !understands('async () => { await using x = null }') && 'this node has no await using'

for (const [target, skip] of [['ES2022', compilerMissing || noDispose], ['ESNext', compilerMissing || noSyntax]]) {
  test(`await using, compiled for ${target}: unlocks, then closes, also when the block throws`, { skip }, async () => {
    const typescript = require('typescript')
    const { outputText } = typescript.transpileModule(fs.readFileSync(path.join(types, 'using.mts'), 'utf8'),
      { compilerOptions: { target: typescript.ScriptTarget[target], module: typescript.ModuleKind.ESNext } })
    assert.equal(outputText.includes('await using factory'), target === 'ESNext')
    const { work } = await import(`data:text/javascript,${encodeURIComponent(outputText)}`)
    const storage = new class extends MapStorage {
      async unSet (...words) {
        this.calls.push('unSet')
        return super.unSet(...words)
      }
    }()
    const seen = []
    await assert.rejects(work(() => new LocksFactory(storage), (held) => seen.push(held)), { message: 'mine' })
    assert.deepEqual(seen, [true])
    assert.deepEqual(storage.calls, ['init', 'unSet', 'close'])
    assert.equal(storage.values.size, 0)
  })
}
