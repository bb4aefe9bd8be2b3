// own.js: locks by a storage class of the user's own, which has init, set(key, value, { ttl }), unSet(key, value) and
// close, as in the npm package. Such a storage can neither extend nor tell who holds a key, so neither can this.
'use strict'

const { randomUUID } = require('node:crypto')
const { setTimeout: pause } = require('node:timers/promises')

const { FailedToObtainKey, LockError } = require('./errors')
const { FOREVER, invalid } = require('./options')

const now = () => performance.now()

function unsupported (what, key) {
  return new LockError('UNSUPPORTED', `${what} needs more than the set and unSet of a storage of your own`, key)
}

class OwnHold {
  #engine
  #value
  #validUntil = 0
  #timer

  constructor (engine, key) {
    this.#engine = engine
    this.key = key
    this.fence = 0n
  }

  async acquire (plan, listener, listened) {
    if (plan.renew) throw unsupported('renew', this.key)
    const deadline = plan.wait === FOREVER ? Infinity : now() + plan.wait
    for (let attempt = 1; ; attempt++) {
      // Whether this is the last one is known before it is made, so that the deadline has an attempt after it.
      const last = plan.wait ? now() >= deadline : attempt >= plan.retries
      if (await this.#attempt(plan)) break
      if (last) throw new FailedToObtainKey(this.key)
      await this.#pause(plan.wait ? Math.min(plan.interval, Math.max(0, deadline - now())) : plan.interval, plan.signal)
    }
    // As libdlock does: ahead of the end by a tenth of the ttl.
    this.#timer = setTimeout(() => {
      listener(new LockError('LOST', `cannot keep "${this.key}": its validity ends`, this.key))
    }, Math.max(0, this.#validUntil - now() - plan.ttl / 10))
    if (!listened) this.#timer.unref()
  }

  async #attempt (plan) {
    const { signal } = plan
    if (signal?.aborted) throw signal.reason
    if (this.#engine.closing) throw new LockError('CANCELLED', 'the factory is closed', this.key)
    this.#value = `${this.#engine.machine}:${process.pid}:${randomUUID()}`
    const sent = now()
    const granted = await this.#engine.storage.set(this.key, this.#value, { ttl: plan.ttl / 1000 })
    if (!granted) return false
    if (signal?.aborted || this.#engine.closing) {
      await this.#engine.storage.unSet(this.key, this.#value)
      throw signal?.aborted ? signal.reason : new LockError('CANCELLED', 'the factory is closed', this.key)
    }
    this.#validUntil = sent + plan.ttl
    this.#engine.holds.add(this)
    return true
  }

  async #pause (ms, signal) {
    try {
      await pause(ms, undefined, { signal })
    } catch (error) {
      throw signal?.aborted ? signal.reason : error
    }
  }

  listenedTo () {
    if (this.held) this.#timer.ref()
  }

  async extend () {
    throw unsupported('extend', this.key)
  }

  async release () {
    clearTimeout(this.#timer)
    this.#validUntil = 0
    this.#engine.holds.delete(this)
    await this.#engine.storage.unSet(this.key, this.#value)
  }

  get remaining () {
    return Math.max(0, this.#validUntil - now()) / 1000
  }

  get held () {
    return now() < this.#validUntil
  }

  get owner () {
    return this.#value ?? ''
  }
}

class OwnEngine {
  #closed

  constructor (storage, { machine }) {
    this.storage = storage
    this.machine = machine ?? 'node'
    this.renews = false
    this.closing = false
    this.holds = new Set()
  }

  prepare (key) {
    if (this.closing) throw invalid('the factory is closed')
    return new OwnHold(this, key)
  }

  keep () {}

  async inspect (key) {
    throw unsupported('inspect', key)
  }

  async list () {
    throw unsupported('list')
  }

  async break (key) {
    throw unsupported('break', key)
  }

  close () {
    this.#closed ??= this.#close()
    return this.#closed
  }

  async #close () {
    this.closing = true
    await Promise.allSettled([...this.holds].map((hold) => hold.release()))
    if (typeof this.storage.close === 'function') await this.storage.close()
  }
}

module.exports = { OwnEngine }
