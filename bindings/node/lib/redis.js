// redis.js: require('distributed-locks/redis').
'use strict'

const { RedisStorage } = require('./storages')

module.exports = { RedisStorage, default: RedisStorage }
Object.defineProperty(module.exports, '__esModule', { value: true })
