// ways.js: how packages that lock with Redis are used, ours among them; for run.js, and for bench/peers of the source tree.
// Each has the packages whose versions count, and open(load, url), where load is require() from where they are installed.
// That gives acquire(key), which waits for the key and resolves to what gives it up, and close(). A URL with several hosts is
// a quorum.
'use strict'

const TTL_MS = 30000 // everybody's

// What the npm package distributed-locks does: GET, and SET or DEL, in a script, by the client of Redis' own project.
const SET = `if not redis.call('GET', KEYS[1]) then
  redis.call('SET', KEYS[1], ARGV[1], 'NX', 'EX', ARGV[2])
  return 'OK'
end
return nil`
const DEL = `if redis.call('GET', KEYS[1]) == ARGV[1] then
  redis.call('DEL', KEYS[1])
end
return 'OK'`

function connect (load, url) {
  const { default: Redis } = load('ioredis')
  return url.replace('redis://', '').split(',').map((address) => new Redis(`redis://${address}`))
}

const ours = {
  name: 'this package',
  packages: ['distributed-locks'],
  async open (load, url) {
    const LocksFactory = load('distributed-locks')
    const factory = new LocksFactory(new LocksFactory.RedisStorage({ url }))
    return {
      async acquire (key) {
        const lock = factory.createLock(key)
        await lock.lock({ ttl: TTL_MS / 1000, wait: Infinity })
        return () => lock.unlock()
      },
      close: () => factory.close()
    }
  }
}

const scripts = {
  name: 'the way of distributed-locks from npm',
  packages: ['@redis/client'],
  async open (load, url) {
    const { createClient, defineScript } = load('@redis/client')
    const { randomUUID } = require('node:crypto')
    const script = (SCRIPT) => defineScript({ NUMBER_OF_KEYS: 1, SCRIPT, transformArguments: (...words) => words })
    const client = createClient({ url, scripts: { setLock: script(SET), deleteLock: script(DEL) } })
    await client.connect()
    return {
      async acquire (key) { // does not wait: for free keys only
        const value = `${key}-1-${randomUUID()}`
        if (await client.setLock(`npm:${key}`, value, String(TTL_MS / 1000)) !== 'OK') throw new Error('not obtained')
        return () => client.deleteLock(`npm:${key}`, value)
      },
      close: () => client.disconnect()
    }
  }
}

const redlock = {
  name: 'redlock',
  packages: ['redlock', 'ioredis'],
  async open (load, url) {
    const { default: Redlock } = load('redlock')
    const clients = connect(load, url)
    const factory = new Redlock(clients, { retryCount: -1 }) // without it, it gives up after ten attempts
    return {
      async acquire (key) {
        const lock = await factory.acquire([`redlock:${key}`], TTL_MS)
        return () => lock.release()
      },
      close: () => clients.forEach((client) => client.disconnect())
    }
  }
}

const semaphore = {
  name: 'redis-semaphore',
  packages: ['redis-semaphore', 'ioredis'],
  async open (load, url) {
    const { Mutex, RedlockMutex } = load('redis-semaphore')
    const clients = connect(load, url)
    const options = { lockTimeout: TTL_MS, acquireTimeout: 10 * TTL_MS }
    return {
      async acquire (key) {
        const mutex = clients.length > 1 ? new RedlockMutex(clients, key, options) : new Mutex(clients[0], key, options)
        await mutex.acquire()
        return () => mutex.release()
      },
      close: () => clients.forEach((client) => client.disconnect())
    }
  }
}

module.exports = { ours, scripts, redlock, semaphore }
