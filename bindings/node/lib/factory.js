// factory.js: LocksFactory, with which everything begins.
'use strict'

const { checkKey, invalid, milliseconds, readMachine } = require('./options')
const { Lock } = require('./lock')
const { OwnEngine } = require('./own')
const { NativeEngine } = require('./native')
const { urlOf } = require('./storages')

function isStorage (storage) {
  return typeof storage?.set === 'function' && typeof storage.unSet === 'function'
}

class LocksFactory {
  #storage
  #options
  #engine // opened when first needed
  #opening
  #closing
  #opener = () => this.#open()

  constructor (storage, options = {}) {
    if (!isStorage(storage)) {
      throw invalid('the first argument is no storage: RedisStorage, PostgresqlStorage, MongoStorage, SqliteStorage, or ' +
        'an object with init, set, unSet and close')
    }
    this.#storage = storage
    this.#options = {
      machine: readMachine(options?.machineId),
      timeout: options?.timeout === undefined ? 0 : milliseconds('timeout', options.timeout)
    }
  }

  /** Opens the storage, which otherwise the first lock does. Nothing is connected yet. */
  async init () {
    await this.#open()
  }

  createLock (key) {
    return new Lock(checkKey(key), this.#opener)
  }

  /** The engine; a promise of it while a storage of the user's own is being initialised. */
  #open () {
    if (this.#closing) throw invalid('the factory is closed')
    if (this.#engine) return this.#engine
    const url = urlOf(this.#storage)
    if (url !== undefined) {
      this.#engine = new NativeEngine(url, this.#options)
      return this.#engine
    }
    this.#opening ??= this.#initialise().finally(() => { this.#opening = undefined })
    return this.#opening
  }

  async #initialise () {
    if (typeof this.#storage.init === 'function') await this.#storage.init()
    this.#engine = new OwnEngine(this.#storage, this.#options)
    return this.#engine
  }

  /**
   * Runs `routine(signal, lock)` while the key is held, and always releases it. The signal is aborted before the lock's
   * validity is over, if it cannot be renewed, and when `options.signal` is.
   */
  async using (key, options, routine) {
    if (typeof options === 'function') [options, routine] = [undefined, options]
    if (typeof routine !== 'function') throw invalid('using() needs a function to run while the key is held')
    const engine = await this.#open()
    const lock = this.createLock(key)
    const controller = new AbortController()
    lock.on('lost', (error) => controller.abort(error))
    await lock.lock({ ...options, renew: engine.renews })
    const outer = options?.signal
    const forward = () => controller.abort(outer.reason)
    if (outer?.aborted) forward()
    else outer?.addEventListener('abort', forward)
    try {
      return await routine(controller.signal, lock)
    } finally {
      outer?.removeEventListener('abort', forward)
      // What the storage did not answer is released in the background; the work's own outcome is what counts here.
      await lock.unlock().catch(() => {})
    }
  }

  /** Who holds the key: { key, owner, fence, ttl, held, remaining }, or null. */
  async inspect (key) {
    return (await this.#open()).inspect(key)
  }

  /** The same of every held key that begins with `prefix`, ordered by key. */
  async list (prefix) {
    return (await this.#open()).list(prefix)
  }

  /** Takes the key away from whoever holds it, who learns it as a loss; resolves to whose it was, or null. */
  async break (key) {
    return (await this.#open()).break(key)
  }

  /** Ends what waits, and releases what is held. */
  close () {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close () {
    await this.#opening?.catch(() => {})
    await this.#engine?.close()
  }
}

if (Symbol.asyncDispose) {
  Object.defineProperty(LocksFactory.prototype, Symbol.asyncDispose, {
    value: async function () {
      await this.close()
    }
  })
}

module.exports = { LocksFactory }
