// run.js: this package beside others that lock with Redis; run by `npm run bench`, with a private Redis server.
//
// Each way takes and gives up locks one after the other, and 100 at once, each with a key of its own. All ways take turns
// within one run, several times, so that what else the machine does meets all of them; the median of each is compared.
'use strict'

const { start } = require('../test/support/servers')
const LocksFactory = require('..')

const ROUNDS = Number(process.env.ROUNDS ?? 7)
const SECONDS = Number(process.env.SECONDS ?? 1)
const AT_ONCE = 100

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

async function ours (url) {
  const factory = new LocksFactory(new LocksFactory.RedisStorage({ url }))
  return {
    name: 'this package',
    pair: async (key) => {
      const lock = factory.createLock(key)
      await lock.lock({ ttl: 10 })
      await lock.unlock()
    },
    close: () => factory.close()
  }
}

async function scripts (url) {
  const { createClient, defineScript } = require('@redis/client')
  const { randomUUID } = require('node:crypto')
  const script = (SCRIPT) => defineScript({ NUMBER_OF_KEYS: 1, SCRIPT, transformArguments: (...words) => words })
  const client = createClient({ url, scripts: { setLock: script(SET), deleteLock: script(DEL) } })
  await client.connect()
  return {
    name: 'the way of distributed-locks from npm',
    pair: async (key) => {
      const value = `${key}-1-${randomUUID()}`
      if (await client.setLock(`npm:${key}`, value, '10') !== 'OK') throw new Error('not obtained')
      await client.deleteLock(`npm:${key}`, value)
    },
    close: () => client.disconnect()
  }
}

async function redlock (url) {
  const { default: Redlock } = require('redlock')
  const { default: Redis } = require('ioredis')
  const client = new Redis(url)
  const factory = new Redlock([client])
  return {
    name: 'redlock',
    pair: async (key) => (await factory.acquire([`redlock:${key}`], 10000)).release(),
    close: () => client.disconnect()
  }
}

async function semaphore (url) {
  const { Mutex } = require('redis-semaphore')
  const { default: Redis } = require('ioredis')
  const client = new Redis(url)
  return {
    name: 'redis-semaphore',
    pair: async (key) => {
      const mutex = new Mutex(client, key, { lockTimeout: 10000 })
      await mutex.acquire()
      await mutex.release()
    },
    close: () => client.disconnect()
  }
}

async function measure (way, atOnce) {
  const begin = performance.now()
  const end = begin + SECONDS * 1000
  let pairs = 0
  await Promise.all(Array.from({ length: atOnce }, async (_, number) => {
    while (performance.now() < end) {
      await way.pair(`key-${number}`)
      pairs++
    }
  }))
  return pairs / (performance.now() - begin) * 1000
}

function median (numbers) {
  return numbers.sort((a, b) => a - b)[Math.floor(numbers.length / 2)]
}

async function compare (ways, atOnce, goal) {
  const rates = new Map(ways.map((way) => [way, []]))
  for (let round = 0; round <= ROUNDS; round++) {
    for (const way of ways) {
      const rate = await measure(way, atOnce)
      if (round > 0) rates.get(way).push(rate) // the first one warms up
    }
  }
  const medians = ways.map((way) => median(rates.get(way)))
  ways.forEach((way, i) => {
    console.log(`  ${way.name.padEnd(38)} ${medians[i].toFixed(0).padStart(7)} pairs/s, ${(medians[0] / medians[i]).toFixed(2)} x`)
  })
  const ratio = medians[0] / Math.max(...medians.slice(1))
  console.log(`  this package beside the best of the others: ${ratio.toFixed(2)} x (goal: at least ${goal} x)`)
}

async function main () {
  const server = await start('redis')
  if (server.skip) {
    console.log(`bench: ${server.skip}`)
    return
  }
  try {
    const ways = []
    for (const make of [ours, scripts, redlock, semaphore]) ways.push(await make(server.url))
    console.log(`lock + unlock, one after the other (node ${process.version}):`)
    await compare(ways, 1, '1.0')
    console.log(`lock + unlock, ${AT_ONCE} at once:`)
    await compare(ways, AT_ONCE, '1.3')
    for (const way of ways) await way.close()
  } finally {
    await server.stop()
  }
}

main().catch((error) => {
  console.error(error)
  process.exitCode = 1
})
