// run.js: this package beside others that lock with Redis; run by `npm run bench`, with a private Redis server.
//
// Each way takes and gives up locks one after the other, and 100 at once, each with a key of its own. All ways take turns
// within one run, several times, so that what else the machine does meets all of them. Compared is within each round; shown
// is the median of that.
'use strict'

const { start } = require('../test/support/servers')
const { ours, scripts, redlock, semaphore } = require('./ways')

const ROUNDS = Number(process.env.ROUNDS ?? 7)
const SECONDS = Number(process.env.SECONDS ?? 1)
const AT_ONCE = 100

const load = (name) => require(name === 'distributed-locks' ? '..' : name)

async function measure (way, atOnce) {
  const begin = performance.now()
  const end = begin + SECONDS * 1000
  let pairs = 0
  await Promise.all(Array.from({ length: atOnce }, async (_, number) => {
    while (performance.now() < end) {
      const release = await way.acquire(`key-${number}`)
      await release()
      pairs++
    }
  }))
  return pairs / (performance.now() - begin) * 1000
}

function median (numbers) {
  return [...numbers].sort((a, b) => a - b)[Math.floor(numbers.length / 2)]
}

async function compare (ways, atOnce, goal) {
  const rates = new Map(ways.map((way) => [way, []]))
  for (let round = 0; round <= ROUNDS; round++) {
    for (const way of ways) {
      const rate = await measure(way, atOnce)
      if (round > 0) rates.get(way).push(rate) // the first one warms up
    }
  }
  const ratios = (of) => rates.get(ways[0]).map((rate, round) => rate / of(round))
  for (const way of ways) {
    const beside = median(ratios((round) => rates.get(way)[round]))
    console.log(`  ${way.name.padEnd(38)} ${median(rates.get(way)).toFixed(0).padStart(7)} pairs/s, ${beside.toFixed(2)} x`)
  }
  const best = median(ratios((round) => Math.max(...ways.slice(1).map((way) => rates.get(way)[round]))))
  console.log(`  this package beside the best of the others in the same round: ${best.toFixed(2)} x (goal: at least ${goal} x)`)
}

async function main () {
  const server = await start('redis')
  if (server.skip) {
    console.log(`bench: ${server.skip}`)
    return
  }
  try {
    const ways = []
    for (const way of [ours, scripts, redlock, semaphore]) ways.push({ name: way.name, ...await way.open(load, server.url) })
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
