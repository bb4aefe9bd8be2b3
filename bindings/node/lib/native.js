// native.js: locks by libdlock, for lock.js and factory.js. The addon reports to `tell`; nothing here waits in a thread.
'use strict'

const { FailedToObtainKey, LockError } = require('./errors')
const { checkKey, seconds } = require('./options')
const addon = load()

const NEWS_LOST = 1 // of enum news in src/factory.h

const calls = new Map() // id -> call that runs; keeps what it concerns from being collected
const holders = new Map() // address of a lock that is held -> its hold, or a WeakRef of it
const IDLE_MAX = 256 // holds that a factory keeps for reuse
let lastId = 0

function load () {
  try {
    return require('../build/dlock.node')
  } catch (error) {
    if (error.code !== 'MODULE_NOT_FOUND') throw error
    throw new Error('the addon of distributed-locks is not built; `npm rebuild distributed-locks` runs its install script, ' +
      'which npm may have to be told to allow', { cause: error })
  }
}

function tell (news, id, code, message, detail) {
  if (news === NEWS_LOST) {
    const entry = holders.get(id)
    const hold = entry instanceof WeakRef ? entry.deref() : entry
    if (hold) hold.lost(message)
    return
  }
  const call = calls.get(id)
  calls.delete(id)
  if (!call) return
  // What has to be known before the next news, which may be that the lock is lost, must not wait for a promise.
  if (code === undefined) call.succeeded?.()
  if (code === undefined || code === call.harmless) call.resolve(detail)
  else call.reject(failure(code, message, call.key, detail))
}

function failure (code, message, key, holder) {
  if (code !== 'BUSY') return new LockError(code, message, key)
  return new FailedToObtainKey(key, { message, holder: holder.owner || undefined, remaining: seconds(holder.remaining) })
}

/** Calls the addon; its errors get the class that users know. */
function direct (key, name, ...args) {
  try {
    return addon[name](...args)
  } catch (error) {
    throw new LockError(error.code, error.message, key)
  }
}

/**
 * Starts what ends with a call of tell(); `promise` tells the outcome. The event loop goes on meanwhile: the addon sees to
 * that.
 */
function start (factory, key, name, subject, ...args) {
  const call = { factory, key, subject }
  call.promise = new Promise((resolve, reject) => {
    const id = ++lastId
    call.resolve = resolve
    call.reject = reject
    direct(key, name, subject, id, ...args)
    calls.set(id, call)
  })
  return call
}

/** What has to be put right when a hold is collected; the addon frees the lock itself, and lets its ttl run out. */
const collected = new FinalizationRegistry((state) => {
  const entry = holders.get(state.address)
  if (entry instanceof WeakRef && !entry.deref()) holders.delete(state.address)
  if (state.keepsLoop) addon.holdLoop(state.factory, false)
})

/**
 * One key, acquired and released any number of times, by one at a time. The event loop goes on while it is held and renewed,
 * or its loss is listened to.
 */
class NativeHold {
  #handle
  #state
  #weak = new WeakRef(this)
  #listener // called with an error when the hold is lost
  #listened = false
  #extending // the last extend of this hold

  constructor (engine, factory, key) {
    this.engine = engine
    this.key = key
    this.#handle = direct(key, 'create', factory, key)
    this.#state = { address: addon.address(this.#handle), factory, keepsLoop: false }
    collected.register(this, this.#state)
  }

  /** Resolves when the key is held. */
  acquire (plan, listener, listened) {
    const { signal } = plan
    if (signal?.aborted) throw signal.reason
    this.#listener = listener
    this.#listened = listened
    const call = start(this.#state.factory, this.key, 'acquire', this.#handle, plan.ttl, plan.retries, plan.interval,
      plan.wait, plan.renew)
    call.succeeded = () => this.#remember(plan.renew)
    return signal ? this.#heed(signal, call.promise) : call.promise
  }

  async #heed (signal, acquiring) {
    const cancel = () => addon.cancel(this.#handle)
    signal.addEventListener('abort', cancel)
    try {
      await acquiring
    } catch (error) {
      throw error.code === 'CANCELLED' && signal.aborted ? signal.reason : error
    } finally {
      signal.removeEventListener('abort', cancel)
    }
  }

  /** Somebody wants to hear of a loss. */
  listenedTo () {
    this.#listened = true
    if (holders.has(this.#state.address)) this.#remember(false)
  }

  /** A hold whose loss somebody listens to is at work, though nobody may have a reference to it. */
  #remember (renewed) {
    holders.set(this.#state.address, this.#listened ? this : this.#weak)
    if (this.#state.keepsLoop || !(renewed || this.#listened)) return
    this.#state.keepsLoop = true
    addon.holdLoop(this.#state.factory, true)
  }

  #forget () {
    holders.delete(this.#state.address)
    if (this.#state.keepsLoop) addon.holdLoop(this.#state.factory, false)
    this.#state.keepsLoop = false
  }

  lost (message) {
    this.#forget()
    this.#listener?.(new LockError('LOST', message, this.key))
  }

  /** One after the other, and a release after them: libdlock refuses what comes while a call of the lock runs. */
  extend (ttl) {
    const before = this.#extending
    const extending = (async () => {
      await before?.catch(() => {})
      await start(this.#state.factory, this.key, 'extend', this.#handle, ttl).promise
    })()
    this.#extending = extending
    return extending
  }

  /** Resolves when the key is given up, also if it was lost before. */
  release () {
    this.#forget()
    this.#listener = undefined
    return this.#extending ? this.#releaseAfter(this.#extending) : this.#release()
  }

  async #releaseAfter (extending) {
    await extending.catch(() => {})
    this.#extending = undefined
    await this.#release()
  }

  #release () {
    if (this.engine.closing) return Promise.resolve()
    const call = start(this.#state.factory, this.key, 'release', this.#handle)
    call.harmless = 'LOST'
    return call.promise
  }

  get fence () {
    return addon.fence(this.#handle)
  }

  get remaining () {
    return addon.remaining(this.#handle) / 1000
  }

  get held () {
    return addon.held(this.#handle)
  }

  get owner () {
    return addon.owner(this.#handle)
  }
}

function readInfo (info, key) {
  return {
    key: info.key ?? key,
    owner: info.owner,
    fence: info.fence,
    ttl: info.ttl === 0 ? undefined : seconds(info.ttl),
    held: seconds(info.held),
    remaining: seconds(info.remaining)
  }
}

/** A factory of libdlock. */
class NativeEngine {
  #idle = new Map() // key -> hold
  #factory
  #closed

  constructor (url, { machine, timeout = 0 }) {
    this.renews = true
    this.closing = false
    this.#factory = direct(undefined, 'open', url, machine, timeout, tell)
  }

  prepare (key) {
    const hold = this.#idle.get(key)
    if (!hold || this.closing) return new NativeHold(this, this.#factory, key)
    this.#idle.delete(key)
    return hold
  }

  /** A hold that has ended, for the next who wants this key: programs make a Lock for each use, of few keys. */
  keep (hold) {
    if (this.#idle.size < IDLE_MAX && !this.closing) this.#idle.set(hold.key, hold)
  }

  async inspect (key) {
    const info = await start(this.#factory, key, 'inspect', this.#factory, checkKey(key)).promise
    return info.owner === '' ? null : readInfo(info)
  }

  async list (prefix = '') {
    const infos = await start(this.#factory, undefined, 'list', this.#factory, checkKey(prefix, 'prefix')).promise
    return infos.map((info) => readInfo(info))
  }

  async break (key) {
    try {
      return readInfo(await start(this.#factory, key, 'break', this.#factory, checkKey(key)).promise)
    } catch (error) {
      if (error.code === 'LOST') return null
      throw error
    }
  }

  close () {
    this.#closed ??= this.#close()
    return this.#closed
  }

  /** Ends what waits, and lets what is on its way end; then libdlock releases what is held, in a thread of its own. */
  async #close () {
    this.closing = true
    this.#idle.clear()
    const mine = [...calls.values()].filter((call) => call.factory === this.#factory)
    for (const call of mine) {
      if (call.subject !== this.#factory) addon.cancel(call.subject)
    }
    await Promise.allSettled(mine.filter((call) => call.subject !== this.#factory).map((call) => call.promise))
    await start(this.#factory, undefined, 'close', this.#factory).promise
  }
}

module.exports = { NativeEngine }
