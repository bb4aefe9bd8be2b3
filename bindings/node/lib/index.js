// index.js: require('distributed-locks') gives LocksFactory, with everything else as its properties.
'use strict'

const { FailedToObtainKey, LockError } = require('./errors')
const { LocksFactory } = require('./factory')
const { Lock } = require('./lock')
const { MongoStorage, PostgresqlStorage, RedisStorage, SqliteStorage } = require('./storages')

module.exports = Object.assign(LocksFactory, {
  default: LocksFactory,
  LocksFactory,
  Lock,
  FailedToObtainKey,
  LockError,
  RedisStorage,
  PostgresqlStorage,
  MongoStorage,
  SqliteStorage
})
// For `import LocksFactory from` in what TypeScript and bundlers make into CommonJS.
Object.defineProperty(module.exports, '__esModule', { value: true })
