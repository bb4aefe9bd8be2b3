// errors.js: what the promises of this package are rejected with.
'use strict'

/** Everything but a key that somebody else has; `code` is the name of libdlock's status, such as 'UNAVAILABLE'. */
class LockError extends Error {
  constructor (code, message, key) {
    super(message)
    this.code = code
    if (key !== undefined) this.key = key
  }

  get name () {
    return this.constructor.name
  }
}

/** Somebody else has the key, and had it until the last attempt. */
class FailedToObtainKey extends LockError {
  constructor (key, { message, holder, remaining } = {}) {
    super('BUSY', message ?? `cannot acquire "${key}": somebody else has it`, key)
    this.holder = holder
    this.remaining = remaining
  }
}

module.exports = { LockError, FailedToObtainKey }
