// lock.js: one key of a factory; made by LocksFactory.createLock().
'use strict'

const { EventEmitter } = require('node:events')

const { invalid, readLockOptions, readTtl } = require('./options')

class Lock extends EventEmitter {
  #key
  #open // gives the engine of the factory
  #hold // what lock() obtained
  #engine
  #unlocking

  constructor (key, open) {
    super()
    this.#key = key
    this.#open = open
  }

  /**
   * Obtains the key; resolves true. A lock that has it already waits for itself like for anybody else, as in the npm
   * package, so each call has a hold of its own.
   */
  async lock (options) {
    const plan = readLockOptions(options)
    const opened = this.#open()
    const engine = opened instanceof Promise ? await opened : opened
    const hold = engine.prepare(this.#key)
    try {
      await hold.acquire(plan, (error) => this.#lost(hold, error), this.listenerCount('lost') > 0)
    } catch (error) {
      engine.keep(hold)
      throw error
    }
    const before = this.#hold
    this.#hold = hold
    this.#engine = engine
    // Its time is over, or the key could not have been obtained again; what may be left of it does no harm.
    if (before) before.release().catch(() => {})
    return true
  }

  /** Gives the key up; resolves true, also if there is nothing to give up. */
  async unlock () {
    const hold = this.#hold
    if (hold) {
      this.#hold = undefined
      this.#unlocking = hold.release()
      try {
        await this.#unlocking
      } finally {
        this.#unlocking = undefined
      }
      this.#engine.keep(hold)
    } else {
      await this.#unlocking
    }
    return true
  }

  /** Lets the lock live for `ttl` seconds from now, or as long as it was obtained for; resolves true. */
  async extend (ttl) {
    if (!this.#hold) throw invalid(`"${this.key}" is not held by this lock`)
    await this.#hold.extend(ttl === undefined ? 0 : readTtl(ttl))
    return true
  }

  #lost (hold, error) {
    // After lock() has gone on, should it have been granted a moment ago. A listener that throws is its own affair, and
    // must not stop the events of other locks.
    setImmediate(() => hold === this.#hold && this.emit('lost', error))
  }

  get key () {
    return this.#key
  }

  /** Grows with every hold of any key; give it to the resource that is protected. 0n: not held, or not to be had. */
  get fence () {
    return this.#hold?.fence ?? 0n
  }

  /** Seconds for which the hold is valid yet. */
  get remaining () {
    return this.#hold?.remaining ?? 0
  }

  /** Held, valid and not reported lost. */
  get held () {
    return this.#hold?.held ?? false
  }

  /** By which inspect() names this hold. */
  get owner () {
    return this.#hold?.owner ?? ''
  }

  on (name, listener) {
    super.on(name, listener)
    if (name === 'lost') this.#hold?.listenedTo()
    return this
  }

  addListener (name, listener) {
    return this.on(name, listener)
  }
}

if (Symbol.asyncDispose) {
  Object.defineProperty(Lock.prototype, Symbol.asyncDispose, {
    value: async function () {
      await this.unlock()
    }
  })
}

module.exports = { Lock }
