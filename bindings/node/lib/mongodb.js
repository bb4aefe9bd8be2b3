// mongodb.js: require('distributed-locks/mongodb').
'use strict'

const { MongoStorage } = require('./storages')

module.exports = { MongoStorage, default: MongoStorage }
Object.defineProperty(module.exports, '__esModule', { value: true })
