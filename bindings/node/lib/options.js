// options.js: checks what users give, and turns their seconds into libdlock's milliseconds.
'use strict'

const { LockError } = require('./errors')

const FOREVER = 2 ** 32 - 1 // of attempts, or of milliseconds: DLOCK_WAIT_FOREVER
const DEFAULTS = { ttl: 10, interval: 1, retries: 3 }

function invalid (message) {
  return new LockError('INVALID', message)
}

function shown (value) {
  return typeof value === 'string' ? JSON.stringify(value) : String(value)
}

/** Seconds as whole milliseconds. What is more than 0 stays so, since 0 would mean the default. */
function milliseconds (name, seconds) {
  if (typeof seconds !== 'number' || !(seconds >= 0)) {
    throw invalid(`${name} is ${shown(seconds)}; expected a number of seconds`)
  }
  return Math.min(FOREVER, Math.ceil(seconds * 1000))
}

function readTtl (seconds) {
  const ttl = milliseconds('ttl', seconds)
  if (ttl < 10 || ttl > 86400000) throw invalid(`ttl is ${seconds} s; expected 0.01 to 86400`)
  return ttl
}

function readRetries (retries) {
  if (retries === Infinity) return FOREVER
  if (!Number.isInteger(retries) || retries < 1) {
    throw invalid(`retries is ${shown(retries)}; expected the number of attempts, at least 1`)
  }
  return Math.min(FOREVER, retries)
}

/** The options of lock(). `retires` is how the documentation of the npm package spells `retries`. */
function readLockOptions (options) {
  if (options === undefined || options === null) options = {}
  if (typeof options !== 'object') throw invalid(`the options are ${shown(options)}; expected an object`)
  const { signal } = options
  if (signal !== undefined && signal !== null && typeof signal.addEventListener !== 'function') {
    throw invalid(`signal is ${shown(signal)}; expected an AbortSignal`)
  }
  const plan = {
    ttl: readTtl(options.ttl ?? DEFAULTS.ttl),
    retries: readRetries(options.retries ?? options.retires ?? DEFAULTS.retries),
    interval: Math.max(1, milliseconds('interval', options.interval ?? DEFAULTS.interval)),
    wait: 0,
    renew: Boolean(options.renew),
    signal: signal ?? undefined
  }
  if (options.wait !== undefined && options.wait !== null) {
    plan.wait = milliseconds('wait', options.wait)
    if (plan.wait === 0) plan.retries = 1
  }
  return plan
}

function checkKey (key, what = 'key') {
  if (typeof key !== 'string') throw invalid(`the ${what} is ${shown(key)}; expected a string`)
  if (key.includes('\0')) throw invalid(`the ${what} has a NUL character in it`)
  if (/\p{Surrogate}/u.test(key)) throw invalid(`the ${what} is not valid Unicode: half of a surrogate pair`)
  return key
}

/** A machineId may be anything there; as a part of an owner token it has letters, digits, '.', '-' and '_'. */
function readMachine (machineId) {
  if (machineId === undefined || machineId === null || machineId === '') return undefined
  return String(machineId).replace(/[^A-Za-z0-9._-]/g, '-').slice(0, 64)
}

function seconds (ms) {
  return ms < 0 ? undefined : ms / 1000
}

module.exports = { FOREVER, checkKey, invalid, milliseconds, readLockOptions, readMachine, readTtl, seconds, shown }
