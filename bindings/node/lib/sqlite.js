// sqlite.js: require('distributed-locks/sqlite').
'use strict'

const { SqliteStorage } = require('./storages')

module.exports = { SqliteStorage, default: SqliteStorage }
Object.defineProperty(module.exports, '__esModule', { value: true })
