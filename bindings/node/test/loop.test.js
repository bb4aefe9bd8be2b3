// loop.test.js: how locks live with node: its event loop, its pool of threads, workers, the garbage collector, the end of
// the process.
'use strict'

const assert = require('node:assert/strict')
const { setMaxListeners } = require('node:events')
const fs = require('node:fs')
const os = require('node:os')
const path = require('node:path')
const { after, before, describe, test } = require('node:test')
const { setTimeout: pause } = require('node:timers/promises')
const { Worker } = require('node:worker_threads')

const LocksFactory = require('..')
const { root, run } = require('./support/child')
const { start } = require('./support/servers')
const { until } = require('./support/until')

const { FailedToObtainKey, RedisStorage, SqliteStorage } = LocksFactory

/** A server for one test, which is gone afterwards also if the test fails. */
async function startFor (context) {
  const server = await start('redis')
  if (!server.skip) context.after(() => server.stop())
  return server
}

describe('in the event loop', () => {
  let folder
  let file
  let factory

  before(() => {
    folder = fs.mkdtempSync(path.join(os.tmpdir(), 'dlock-node-'))
    file = path.join(folder, 'locks.db')
    factory = new LocksFactory(new SqliteStorage({ path: file }))
  })

  after(async () => {
    await factory.close()
    fs.rmSync(folder, { recursive: true, force: true })
  })

  test('the process ends by itself when nothing is held', async () => {
    const { code, stdout, stderr } = await run(`
      const factory = new LocksFactory(new LocksFactory.SqliteStorage({ path: process.argv[1] }))
      const lock = factory.createLock('ends')
      await lock.lock()
      await lock.unlock()
      await lock.lock({ renew: true })
      await lock.unlock()
      await factory.inspect('ends')
      await factory.list()
      await factory.createLock('ends').lock({ ttl: 30 })
      await factory.createLock('ends').lock({ retries: 1 }).catch(() => {})
      console.log('done')`, [file])
    assert.deepEqual({ code, stdout, stderr }, { code: 0, stdout: 'done\n', stderr: '' })
    // It did not close, so what it held ends with its ttl, as with the npm package.
    assert.notEqual(await factory.inspect('ends'), null)
    await factory.break('ends')
  })

  test('the process goes on while a lock is renewed, and while one waits', async () => {
    const lock = factory.createLock('goes on')
    await lock.lock({ ttl: 30 })
    const child = run(`
      const factory = new LocksFactory(new LocksFactory.SqliteStorage({ path: process.argv[1] }))
      const lock = factory.createLock('goes on')
      lock.on('lost', () => console.log('lost'))
      await lock.lock({ ttl: 1, wait: Infinity, renew: true })
      console.log('obtained')`, [file])
    await lock.unlock()
    await until(async () => (await factory.inspect('goes on')) !== null)
    const { owner } = await factory.inspect('goes on')
    const begin = performance.now()
    await until(() => performance.now() - begin > 1500)
    assert.equal((await factory.inspect('goes on'))?.owner, owner)
    await factory.break('goes on')
    assert.deepEqual(await child, { code: 0, stdout: 'obtained\nlost\n', stderr: '' })
  })

  test('the loop sleeps while a lock waits', async () => {
    const busy = factory.createLock('sleeps')
    const waiter = factory.createLock('sleeps')
    await busy.lock({ ttl: 600 })
    const waiting = waiter.lock({ wait: Infinity })
    const before = process.cpuUsage()
    await pause(1000)
    const { user, system } = process.cpuUsage(before)
    assert.ok(user + system < 500000, `${user + system} us of the processor in a second without work`)
    await busy.unlock()
    await waiting
    await waiter.unlock()
  })

  test('unlock stands behind none of a thousand that wait, and the pool of threads is free', { timeout: 120000 }, async () => {
    const busy = factory.createLock('thousand')
    await busy.lock({ ttl: 600 })
    const controller = new AbortController()
    const { signal } = controller
    setMaxListeners(0, signal)
    let ended = 0
    // Half of them wait in line, half ask again and again.
    const waiting = Array.from({ length: 1000 }, (_, i) =>
      factory.createLock('thousand').lock(i % 2 ? { ttl: 600, wait: Infinity, signal }
        : { ttl: 600, retries: Infinity, interval: 0.1, signal })
        .then(() => 'obtained', (error) => error.name).finally(() => ended++))
    const other = factory.createLock('other')
    for (let i = 0; i < 20; i++) {
      await other.lock({ ttl: 600 })
      // Who asks after the unlock has his answer after it; a few get theirs in the same turn of the loop.
      const order = []
      const calls = [other.unlock().then(() => order.push('unlock'))]
      for (let k = 0; k < 200; k++) {
        calls.push(factory.createLock('thousand').lock({ retries: 1 }).then(assert.fail, () => order.push('asked later')))
      }
      await Promise.all(calls)
      assert.ok(order.indexOf('unlock') < 40, `${order.indexOf('unlock')} who asked later were answered before the unlock`)
      await fs.promises.stat(folder) // by a thread of the pool
      assert.equal(ended, 0)
    }
    // Nor does that of the key itself, for which all of them stand in line.
    await busy.unlock()
    await until(() => ended > 0)
    controller.abort()
    const outcomes = await Promise.all(waiting)
    assert.equal(outcomes.filter((outcome) => outcome === 'obtained').length, 1)
    assert.equal(outcomes.filter((outcome) => outcome === 'AbortError').length, 999)
    await factory.break('thousand')
  })

  test('a storage that hangs blocks neither the event loop nor the pool', async (context) => {
    const server = await startFor(context)
    if (server.skip) return context.skip(server.skip)
    const hanging = new LocksFactory(new RedisStorage({ url: server.url }), { timeout: 1 })
    const lock = hanging.createLock('key')
    await lock.lock({ ttl: 60 })
    await server.tell('pause')
    let ended = 0
    const calls = [lock.unlock(), hanging.createLock('other').lock({ retries: 1 }), hanging.inspect('key'), hanging.list()]
    const outcomes = calls.map((call) => call.then(() => 'done', (error) => error.code).finally(() => ended++))
    let turns = 0
    while (ended < calls.length) {
      // Several of these at once would fill a pool of four threads, if the calls had taken it.
      await Promise.all(Array.from({ length: 4 }, () => fs.promises.stat(folder)))
      turns++
    }
    assert.deepEqual(await Promise.all(outcomes), Array(4).fill('UNAVAILABLE'))
    assert.ok(turns > 10, `${turns} turns of the loop in the time of a call`)
    const closing = hanging.close()
    await fs.promises.stat(folder)
    await server.tell('resume')
    await closing
  })

  test('a server that is not there is UNAVAILABLE, and comes back', async (context) => {
    const server = await startFor(context)
    if (server.skip) return context.skip(server.skip)
    const other = new LocksFactory(new RedisStorage({ url: server.url }), { timeout: 5 })
    await server.tell('kill')
    const error = await other.createLock('key').lock({ retries: 2, interval: 0.01 }).then(() => {}, (reason) => reason)
    assert.equal(error.code, 'UNAVAILABLE')
    assert.ok(!(error instanceof FailedToObtainKey))
    const waiting = other.createLock('key').lock({ wait: 60, interval: 0.05, renew: true, ttl: 1 })
    await server.tell('start')
    assert.equal(await waiting, true)
    await other.close()
  })

  test('a renewed lock whose storage goes away: using aborts its signal before validity is over', async (context) => {
    const server = await startFor(context)
    if (server.skip) return context.skip(server.skip)
    const other = new LocksFactory(new RedisStorage({ url: server.url }), { timeout: 1 })
    // A machine may be too busy to run the listener in time, but not each time.
    let left = 0
    for (let i = 0; i < 5 && left === 0; i++) {
      await other.using(`key-${i}`, { ttl: 3 }, async (signal, lock) => {
        signal.addEventListener('abort', () => { left = lock.remaining })
        await server.tell('kill')
        await until(() => signal.aborted)
        assert.equal(signal.reason.code, 'LOST')
      })
      await server.tell('start')
    }
    assert.ok(left > 0, 'the signal was aborted when validity was over')
    await other.close()
  })

  test('worker threads have factories of their own', async () => {
    const source = `
      const { parentPort, workerData } = require('node:worker_threads')
      const LocksFactory = require(workerData.root)
      const factory = new LocksFactory(new LocksFactory.SqliteStorage({ path: workerData.file }))
      const work = async () => {
        for (let i = 0; i < 20; i++) {
          await factory.using('shared', { wait: Infinity, interval: 0.05 }, async (signal, lock) => {
            const holders = new Int32Array(workerData.holders)
            if (Atomics.add(holders, 0, 1) !== 0) Atomics.store(holders, 1, 1)
            await new Promise(setImmediate)
            Atomics.sub(holders, 0, 1)
          })
        }
        await factory.createLock('left-' + workerData.number).lock({ ttl: 60, renew: workerData.number > 1 })
        parentPort.postMessage('done')
      }
      work()`
    const holders = new SharedArrayBuffer(8)
    const workers = [0, 1, 2, 3].map((number) =>
      new Worker(source, { eval: true, workerData: { root, file, holders, number } }))
    await Promise.all(workers.map((worker) => new Promise((resolve, reject) => {
      worker.once('message', resolve)
      worker.once('error', reject)
    })))
    assert.deepEqual([...new Int32Array(holders)], [0, 0])
    // Two hold nothing that is renewed and end; the others are ended, also while a lock is renewed.
    const codes = await Promise.all(workers.map((worker, number) => number > 1 ? worker.terminate()
      : new Promise((resolve) => worker.threadId === -1 ? resolve(0) : worker.once('exit', resolve))))
    assert.deepEqual(codes, [0, 0, 1, 1])
    // Nobody renews what a worker held that is gone.
    const left = await factory.list('left-')
    assert.equal(left.length, 4)
    for (const { key } of left) await factory.break(key)
  })

  test('a worker that is ended while it waits and asks leaves the process well', async () => {
    const busy = factory.createLock('busy')
    await busy.lock({ ttl: 60 })
    const source = `
      const { parentPort, workerData } = require('node:worker_threads')
      const LocksFactory = require(workerData.root)
      const factory = new LocksFactory(new LocksFactory.SqliteStorage({ path: workerData.file }))
      for (let i = 0; i < 10; i++) factory.createLock('busy').lock({ wait: Infinity })
      for (let i = 0; i < 10; i++) factory.inspect('busy')
      new LocksFactory(new LocksFactory.SqliteStorage({ path: workerData.file })).init()
      parentPort.postMessage('waits')
      if (workerData.closes) factory.close()`
    for (let i = 0; i < 6; i++) {
      const worker = new Worker(source, { eval: true, workerData: { root, file, closes: i % 2 === 1 } })
      worker.on('error', () => {})
      await new Promise((resolve) => worker.once('message', resolve))
      await worker.terminate()
    }
    assert.equal(busy.held, true)
    await busy.unlock()
  })

  test('what is collected leaks nothing: memory, descriptors, threads, and a renewed lock ends', async () => {
    const { code, stdout, stderr } = await run(`
      const fs = require('node:fs')
      const open = (suffix = '') => new LocksFactory(new LocksFactory.SqliteStorage({ path: process.argv[1] + suffix }))
      const count = () => ({
        descriptors: fs.readdirSync('/proc/self/fd').length, threads: fs.readdirSync('/proc/self/task').length
      })
      const collect = async () => {
        for (let i = 0; i < 5; i++) {
          gc()
          await new Promise((resolve) => setTimeout(resolve, 20))
        }
      }
      const factory = open()
      const keeper = factory.createLock('keeper')
      await keeper.lock({ ttl: 600 })
      await factory.inspect('keeper')
      await collect()

      // Locks: free, held, held and renewed.
      const round = async () => {
        for (let i = 0; i < 2000; i++) factory.createLock('never')
        for (let i = 0; i < 500; i++) await factory.createLock('held-' + i).lock({ ttl: 0.05, renew: i % 100 === 0 })
        await collect()
      }
      await round()
      const before = process.memoryUsage().rss
      for (let i = 0; i < 10; i++) {
        await round()
        while ((await factory.list('held-')).length > 0) await collect()
      }
      const grown = process.memoryUsage().rss - before
      if (grown > 30e6) console.log('memory grew by', grown)

      // Factories with locks that are held. Each has a file of its own, since SQLite keeps descriptors of one file.
      const few = count()
      const lose = async (i) => {
        const lost = open('-' + i)
        await lost.createLock('lost').lock({ ttl: 600 })
        await lost.inspect('lost')
      }
      for (let i = 0; i < 20; i++) await lose(i)
      const many = count()
      if (many.threads < few.threads + 20) console.log('nothing there to be collected', few, many)
      for (let i = 0; i < 100 && (count().threads > few.threads || count().descriptors > few.descriptors); i++) await collect()
      const end = count()
      if (end.threads > few.threads || end.descriptors > few.descriptors) console.log('left', few, end)
      if (await open('-7').inspect('lost') === null) console.log('a lock was released that its ttl should end')
      if (!keeper.held) console.log('not held')
      console.log('done')`, [file])
    assert.deepEqual({ code, stdout, stderr }, { code: 0, stdout: 'done\n', stderr: '' })
    for (const { key } of await factory.list()) await factory.break(key)
  })

  test('a renewed lock to whose loss somebody listens is not collected', async () => {
    const { stdout } = await run(`
      const factory = new LocksFactory(new LocksFactory.SqliteStorage({ path: process.argv[1] }))
      await (async () => {
        const lock = factory.createLock('listened')
        await lock.lock({ ttl: 1, renew: true })
        lock.on('lost', (error) => console.log(error.code))
      })()
      for (let i = 0; i < 80; i++) {
        gc()
        await new Promise((resolve) => setTimeout(resolve, 20))
      }
      console.log((await factory.inspect('listened')) !== null)
      await factory.break('listened')`, [file])
    assert.equal(stdout, 'true\nLOST\n')
  })

  test('a loss that the loop learns together with the grant is told', { timeout: 60000 }, async () => {
    const lock = factory.createLock('late')
    const told = new Promise((resolve) => lock.once('lost', resolve))
    const locking = lock.lock({ ttl: 0.05 })
    const begin = performance.now()
    while (performance.now() - begin < 300); // the loop stands still
    assert.equal(await locking, true)
    assert.equal((await told).code, 'LOST')
    await lock.unlock()
  })

  test('a listener that throws is an uncaught exception, and other locks go on', async () => {
    const { stdout } = await run(`
      process.on('uncaughtException', (error) => console.log(error.message))
      const factory = new LocksFactory(new LocksFactory.SqliteStorage({ path: process.argv[1] }))
      const lock = factory.createLock('throws')
      lock.on('lost', () => { throw new Error('mine') })
      await lock.lock({ ttl: 5, renew: true })
      await factory.break('throws')
      await new Promise((resolve) => lock.on('lost', resolve) && process.once('uncaughtException', resolve))
      const other = factory.createLock('other')
      console.log(await other.lock(), await other.unlock())`, [file])
    assert.equal(stdout, 'mine\ntrue true\n')
  })

  test('process.exit and closing at the end of a process with locks held', async () => {
    const { code } = await run(`
      const factory = new LocksFactory(new LocksFactory.SqliteStorage({ path: process.argv[1] }))
      await factory.createLock('exit').lock({ ttl: 60, renew: true })
      factory.createLock('exit').lock({ wait: Infinity })
      process.exit(7)`, [file])
    assert.equal(code, 7)
    await factory.break('exit')
    const closed = await run(`
      const factory = new LocksFactory(new LocksFactory.SqliteStorage({ path: process.argv[1] }))
      await factory.createLock('exit').lock({ ttl: 60, renew: true })
      await factory.close()`, [file])
    assert.deepEqual(closed, { code: 0, stdout: '', stderr: '' })
    assert.equal(await factory.inspect('exit'), null)
  })
})
