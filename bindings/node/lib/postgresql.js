// postgresql.js: require('distributed-locks/postgresql').
'use strict'

const { PostgresqlStorage } = require('./storages')

module.exports = { PostgresqlStorage, default: PostgresqlStorage }
Object.defineProperty(module.exports, '__esModule', { value: true })
