// peer.mjs NAME URL: the locks of npm's packages, and our own package, for run.py, which says what the orders and answers are.
// A promise for each caller. A new peer is one more way in bindings/node/bench/ways.js, and one more line in PEERS.
// $PEERS_NODE is the folder where the packages are installed.
import fs from 'node:fs'
import { createRequire } from 'node:module'
import path from 'node:path'
import readline from 'node:readline'
import ways from '../../bindings/node/bench/ways.js'

const PEERS = { redlock: ways.redlock, 'redis-semaphore': ways.semaphore, ours: ways.ours }
const place = path.resolve(process.env.PEERS_NODE)

function version (name) {
  return `${name} ${JSON.parse(fs.readFileSync(path.join(place, 'node_modules', name, 'package.json'), 'utf8')).version.replace('v', '')}`
}

// Microseconds of a clock that both processes of a hand-over share.
function now () {
  return Number(process.hrtime.bigint()) / 1e3
}

async function pair (way, key) {
  const release = await way.acquire(key)
  await release()
}

async function pairs (way, seconds) {
  const took = []
  let begin = now()
  for (const end = begin + seconds * 1e6; begin < end;) {
    await pair(way, 'pairs')
    const done = now()
    took.push(done - begin)
    begin = done
  }
  took.sort((a, b) => a - b)
  return { median_us: took[Math.floor(took.length / 2)], p99_us: took[Math.floor(took.length * 0.99)] }
}

async function callers (way, count, seconds) {
  let done = 0
  const begin = now()
  await Promise.all(Array.from({ length: count }, async (_, number) => {
    for (const end = begin + seconds * 1e6; now() < end; done++) await pair(way, `callers-${number}`)
  }))
  return { per_second: done / (now() - begin) * 1e6 }
}

const [name, url] = process.argv.slice(2)
const way = await PEERS[name].open(createRequire(path.join(place, 'package.json')), url)
const answer = (value) => process.stdout.write(`${JSON.stringify(value)}\n`)
answer({ version: PEERS[name].packages.map(version).join(', '), runtime: `Node ${process.versions.node}` })
let release
for await (const line of readline.createInterface({ input: process.stdin })) {
  const [order, ...words] = line.split(' ')
  if (order === 'pairs') {
    answer(await pairs(way, Number(words[0])))
  } else if (order === 'callers') {
    answer(await callers(way, Number(words[0]), Number(words[1])))
  } else if (order === 'acquire') {
    release = await way.acquire(words[0])
    answer({ at_us: now() })
  } else if (order === 'release') {
    answer({ at_us: now() })
    await release()
  } else if (order === 'waiters') {
    for (let i = 0; i < Number(words[0]); i++) way.acquire(words[1])
    answer({})
  } else {
    throw new Error(`"${order}" is not an order`)
  }
}
process.exit() // promises may wait for keys still
