// storages.js: the storages that tests run over, one line each. `make` gives the arguments of a LocksFactory's storage;
// `broken` the same with wrong credentials or, where there are none, a place that cannot be.
'use strict'

const fs = require('node:fs')
const os = require('node:os')
const path = require('node:path')

const { MongoStorage, PostgresqlStorage, RedisStorage, SqliteStorage } = require('../..')
const { start } = require('./servers')

function folder () {
  const name = fs.mkdtempSync(path.join(os.tmpdir(), 'dlock-node-'))
  return { url: path.join(name, 'locks.db'), stop: async () => fs.rmSync(name, { recursive: true, force: true }) }
}

const table = [
  {
    name: 'sqlite',
    start: async () => folder(),
    make: ({ url }) => new SqliteStorage({ path: url }),
    broken: ({ url }) => new SqliteStorage({ path: path.join(url, 'no', 'such', 'folder.db') })
  },
  {
    name: 'redis',
    start: () => start('redis', '--password', 'it is/secret?#%:@,'),
    make: ({ url }) => new RedisStorage({ keyPrefix: 'my-locks', url }),
    broken: ({ url }) => new RedisStorage({ url: url.replace(/\/\/.*@/, '//:wrong@') })
  },
  {
    name: 'redis, three nodes',
    start: () => start('redis', '--nodes', '3', '--config', 'appendonly yes', '--config', 'appendfsync always'),
    make: ({ url }) => new RedisStorage({ url: url.split(' ') })
  },
  {
    name: 'postgresql',
    start: () => start('postgresql', '--password', 'it is/secret?#%:@,'),
    make: ({ url }) => {
      const place = new URL(url)
      return new PostgresqlStorage({
        keyPrefix: 'my-locks',
        tableName: 'my_locks',
        database: place.pathname.slice(1),
        host: place.hostname,
        port: Number(place.port),
        username: decodeURIComponent(place.username),
        password: decodeURIComponent(place.password)
      })
    },
    broken: ({ url }) => new PostgresqlStorage({ url, password: 'wrong' })
  },
  {
    name: 'mongodb',
    start: () => start('mongodb'),
    make: ({ url }) => new MongoStorage({ url, database: 'db', collectionName: 'my-locks' })
  }
]

module.exports = { table }
