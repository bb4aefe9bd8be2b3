// guarantees.test.js: what the npm package documents, over each storage: one holder at a time; a lock ends with its ttl;
// unlock() of a lock that expired leaves that of a later holder alone. And what its own tests try.
'use strict'

const assert = require('node:assert/strict')
const { after, before, describe, test } = require('node:test')

const LocksFactory = require('..')
const { table } = require('./support/storages')
const { until } = require('./support/until')

const { FailedToObtainKey, LockError } = LocksFactory

for (const storage of table) {
  describe(storage.name, () => {
    let server
    let factory

    before(async () => {
      server = await storage.start()
      if (!server.skip) factory = new LocksFactory(storage.make(server), { machineId: 'machine-1' })
    })

    after(async () => {
      await factory?.close()
      await server?.stop?.()
    })

    function over (name, body) {
      test(name, (context) => server.skip ? context.skip(server.skip) : body(context))
    }

    over('lock and unlock resolve true, with and without init', async () => {
      const lock = factory.createLock('plain')
      assert.equal(await lock.lock(), true)
      assert.equal(lock.held, true)
      assert.equal(await lock.unlock(), true)
      assert.equal(lock.held, false)
      await factory.init()
      assert.equal(await lock.lock({ ttl: 10, interval: 5, retries: 3 }), true)
      assert.equal(await lock.unlock(), true)
    })

    over('unlock is harmless if the key was never obtained', async () => {
      assert.equal(await factory.createLock('never').unlock(), true)
    })

    over('one holder at a time, also of many who ask at once', async () => {
      let holders = 0
      let most = 0
      await Promise.all(Array.from({ length: 20 }, async () => {
        const lock = factory.createLock('critical')
        await lock.lock({ wait: 60, interval: 0.05 })
        most = Math.max(most, ++holders)
        await new Promise(setImmediate)
        holders--
        await lock.unlock()
      }))
      assert.equal(most, 1)
    })

    over('a contended key is FailedToObtainKey, with key, holder and remaining time', async () => {
      const lock = factory.createLock('contended')
      await lock.lock({ ttl: 30 })
      const error = await factory.createLock('contended').lock({ retires: 2, interval: 0.01 })
        .then(() => undefined, (reason) => reason)
      assert.ok(error instanceof FailedToObtainKey)
      assert.ok(error instanceof Error)
      assert.equal(error.name, 'FailedToObtainKey')
      assert.equal(error.code, 'BUSY')
      assert.equal(error.key, 'contended')
      assert.equal(error.holder, lock.owner)
      assert.match(error.holder, /^machine-1:\d+:/)
      assert.match(error.message, /2 attempts/)
      assert.ok(error.remaining > 0 && error.remaining <= 30, `remaining ${error.remaining}`)
      await lock.unlock()
    })

    over('a lock that is held waits for itself as for anybody else', async () => {
      const lock = factory.createLock('twice')
      await lock.lock()
      await assert.rejects(lock.lock({ retries: 1 }), FailedToObtainKey)
      assert.equal(lock.held, true)
      await lock.unlock()
      await lock.lock()
      await lock.unlock()
    })

    over('a lock ends with its ttl, and can be had by trying again', async () => {
      const first = factory.createLock('expires')
      await first.lock({ ttl: 0.3 })
      const second = factory.createLock('expires')
      assert.equal(await second.lock({ retries: 1000, interval: 0.05 }), true)
      assert.equal(first.held, false)
      assert.ok(second.fence > 0n)
      await second.unlock()
      await first.unlock()
    })

    over('unlock of an expired lock leaves the later holder alone', async () => {
      const first = factory.createLock('later')
      await first.lock({ ttl: 0.2 })
      const second = factory.createLock('later')
      await second.lock({ ttl: 60, wait: 60, interval: 0.05 })
      assert.equal(await first.unlock(), true)
      await assert.rejects(factory.createLock('later').lock({ retries: 2, interval: 0.01 }), FailedToObtainKey)
      assert.equal(second.held, true)
      assert.equal((await factory.inspect('later')).owner, second.owner)
      await second.unlock()
      const third = factory.createLock('later')
      assert.equal(await third.lock({ retries: 1 }), true)
      await third.unlock()
    })

    over('fences are BigInt and grow', async () => {
      const lock = factory.createLock('fence')
      assert.equal(lock.fence, 0n)
      let last = 0n
      for (let i = 0; i < 5; i++) {
        await lock.lock()
        assert.ok(lock.fence > last)
        last = lock.fence
        await lock.unlock()
        assert.equal(lock.fence, 0n)
      }
    })

    over('extend lets the lock live from now; remaining tells for how long', async () => {
      const lock = factory.createLock('extend')
      assert.equal(lock.remaining, 0)
      await assert.rejects(lock.extend(5), { code: 'INVALID' })
      await lock.lock({ ttl: 5 })
      assert.ok(lock.remaining > 0 && lock.remaining <= 5)
      assert.equal(await lock.extend(100), true)
      assert.ok(lock.remaining > 50 && lock.remaining <= 100)
      assert.equal((await factory.inspect('extend')).ttl, 100)
      await lock.unlock()
    })

    over('extend and unlock may be called while an extend runs', async () => {
      const lock = factory.createLock('crowded')
      await lock.lock({ ttl: 30 })
      const calls = [lock.extend(40), lock.extend(50), lock.unlock()]
      assert.deepEqual(await Promise.all(calls), [true, true, true])
      assert.equal(await factory.inspect('crowded'), null)
      await lock.lock({ ttl: 30 })
      await lock.unlock()
    })

    over('a renewed lock outlives its ttl', async () => {
      const lock = factory.createLock('renew')
      await lock.lock({ ttl: 0.6, renew: true })
      const start = performance.now()
      let lost = false
      lock.on('lost', () => { lost = true })
      await until(() => performance.now() - start > 1500)
      // Where a machine is so busy that even a renewal comes late, the loss is told: never silently.
      assert.equal(lost, !lock.held)
      if (!lost) assert.equal((await factory.inspect('renew')).owner, lock.owner)
      await lock.unlock()
      assert.equal(await factory.inspect('renew'), null)
    })

    over('a lock that was broken is lost: told once, and extend says so', async () => {
      const lock = factory.createLock('broken')
      const told = []
      lock.on('lost', (error) => told.push(error))
      await lock.lock({ ttl: 2, renew: true })
      const owner = lock.owner
      assert.equal((await factory.break('broken')).owner, owner)
      assert.equal(await factory.break('broken'), null)
      await until(() => told.length > 0)
      assert.ok(told[0] instanceof LockError)
      assert.equal(told[0].code, 'LOST')
      assert.equal(lock.held, false)
      await assert.rejects(lock.extend(1), { code: 'LOST' })
      assert.equal(await lock.unlock(), true)
      assert.equal(told.length, 1)
    })

    over('inspect and list', async () => {
      assert.equal(await factory.inspect('seen:1'), null)
      const locks = ['seen:2', 'seen:1', 'other'].map((key) => factory.createLock(key))
      for (const lock of locks) await lock.lock({ ttl: 30 })
      const info = await factory.inspect('seen:1')
      assert.equal(info.key, 'seen:1')
      assert.equal(info.owner, locks[1].owner)
      assert.equal(info.fence, locks[1].fence)
      assert.equal(info.ttl, 30)
      assert.ok(info.remaining > 0 && info.remaining <= 30)
      assert.ok(info.held >= 0)
      assert.deepEqual((await factory.list('seen:')).map(({ key }) => key), ['seen:1', 'seen:2'])
      const all = (await factory.list()).map(({ key }) => key)
      for (const lock of locks) assert.ok(all.includes(lock.key))
      for (const lock of locks) await lock.unlock()
    })

    over('wait: woken by a release, and bound by time', async () => {
      const lock = factory.createLock('wait')
      await lock.lock({ ttl: 60 })
      await assert.rejects(factory.createLock('wait').lock({ wait: 0.05 }), FailedToObtainKey)
      await assert.rejects(factory.createLock('wait').lock({ wait: 0 }), FailedToObtainKey)
      const waiter = factory.createLock('wait')
      const waiting = waiter.lock({ wait: Infinity })
      await lock.unlock()
      assert.equal(await waiting, true)
      await waiter.unlock()
    })

    over('signal ends the waiting with its reason', async () => {
      const lock = factory.createLock('signal')
      await lock.lock({ ttl: 60 })
      const controller = new AbortController()
      const waiting = factory.createLock('signal').lock({ wait: Infinity, signal: controller.signal })
      setImmediate(() => controller.abort())
      await assert.rejects(waiting, { name: 'AbortError' })
      await assert.rejects(factory.createLock('signal').lock({ signal: AbortSignal.abort(new Error('mine')) }),
        { message: 'mine' })
      await lock.unlock()
      assert.equal(await lock.lock({ signal: new AbortController().signal }), true)
      await lock.unlock()
    })

    over('using: renews, hands on the result and the error, always releases', async () => {
      assert.equal(await factory.using('using', { ttl: 5 }, async (signal, lock) => {
        assert.equal(signal.aborted, false)
        assert.equal((await factory.inspect('using')).owner, lock.owner)
        return 'result'
      }), 'result')
      assert.equal(await factory.inspect('using'), null)
      await assert.rejects(factory.using('using', async () => { throw new Error('mine') }), { message: 'mine' })
      assert.equal(await factory.inspect('using'), null)
    })

    over('using: the signal is aborted when the lock is lost, before its validity is over', async () => {
      await factory.using('loses', { ttl: 5 }, async (signal, lock) => {
        await factory.break('loses')
        await until(() => signal.aborted)
        assert.equal(signal.reason.code, 'LOST')
        assert.equal(lock.held, false)
      })
    })

    over('keys of all kinds', async () => {
      for (const key of ['ключ', 'a b', "it's", '%s?&=#', 'a:b', '💡', 'x'.repeat(400)]) {
        const lock = factory.createLock(key)
        await lock.lock()
        assert.equal((await factory.inspect(key)).key, key)
        await lock.unlock()
      }
    })

    // Where there are credentials that can be wrong, or a place that cannot be.
    if (storage.broken) over('what is wrong with the storage is never FailedToObtainKey, and has no password in it', async () => {
      const other = new LocksFactory(storage.broken(server), { timeout: 2 })
      const error = await other.createLock('key').lock({ retries: 1 }).then(() => undefined, (reason) => reason)
      assert.ok(error instanceof LockError)
      assert.ok(!(error instanceof FailedToObtainKey))
      assert.equal(error.code, 'REFUSED')
      assert.ok(!error.message.includes('secret') && !error.message.includes('wrong'), error.message)
      await other.close()
    })

    over('closing releases what is held, and ends what waits', async () => {
      const other = new LocksFactory(storage.make(server))
      const lock = other.createLock('closing')
      await lock.lock({ ttl: 60 })
      await other.createLock('closing-renewed').lock({ ttl: 60, renew: true })
      const waiting = other.createLock('closing').lock({ wait: Infinity })
      const rejected = assert.rejects(waiting, { code: 'CANCELLED' })
      await Promise.all([other.close(), other.close()])
      await rejected
      assert.equal(await factory.inspect('closing'), null)
      assert.equal(await factory.inspect('closing-renewed'), null)
      assert.equal(await lock.unlock(), true)
      assert.equal(lock.held, false)
      await assert.rejects(lock.lock(), { code: 'INVALID' })
    })

    over('a storage by itself: init, set, unSet, close', async () => {
      const alone = storage.make(server)
      await alone.init()
      assert.equal(await alone.set('alone', 'mine', { ttl: 10 }), true)
      assert.equal(await alone.set('alone', 'yours', { ttl: 10 }), false)
      assert.equal(await alone.unSet('alone', 'yours'), true)
      assert.notEqual(await factory.inspect('alone'), null)
      assert.equal(await alone.unSet('alone', 'mine'), true)
      assert.equal(await factory.inspect('alone'), null)
      await alone.close()
    })
  })
}
