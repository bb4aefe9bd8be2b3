// storages.js: where locks can be, with the constructor arguments of the npm package; each makes a URL of libdlock.
'use strict'

const path = require('node:path')

const { checkKey, invalid, readTtl, shown } = require('./options')
const { NativeEngine } = require('./native')

const urls = new WeakMap()

const encode = encodeURIComponent

function checkText (name, value) {
  if (typeof value !== 'string') throw invalid(`${name} is ${shown(value)}; expected a string`)
  return value
}

function checkObject (options) {
  if (options === undefined || options === null) return {}
  if (typeof options !== 'object') throw invalid('the arguments of a storage are one object')
  return options
}

/** Adds parameters to a URL; one that is there already is replaced. */
function withParameters (url, parameters) {
  const [base, query = ''] = split(url, '?')
  const kept = query.split('&').filter((part) => part !== '' && !(split(part, '=')[0] in parameters))
  const added = Object.entries(parameters).map(([name, value]) => `${name}=${encode(value)}`)
  const all = [...kept, ...added]
  return all.length ? `${base}?${all.join('&')}` : base
}

function split (text, at) {
  const index = text.indexOf(at)
  return index < 0 ? [text] : [text.slice(0, index), text.slice(index + 1)]
}

/** Those of `parameters` that are given, checked. */
function given (parameters) {
  return Object.fromEntries(Object.entries(parameters).filter(([, value]) => value !== undefined && value !== null)
    .map(([name, value]) => [name, checkText(name, value)]))
}

/**
 * What all of them share. A LocksFactory uses the URL; init, set, unSet and close are for programs that call a storage by
 * itself, or put a class of their own around it.
 */
class NativeStorage {
  #engine
  #holds = new Map()

  constructor (url) {
    urls.set(this, url)
  }

  async init () {
    this.#engine ??= new NativeEngine(urls.get(this), {})
  }

  async set (key, value, { ttl } = {}) {
    await this.init()
    const hold = this.#engine.prepare(checkKey(key))
    const plan = { ttl: readTtl(ttl), retries: 1, interval: 1, wait: 0, renew: false }
    try {
      await hold.acquire(plan, () => {}, false)
    } catch (error) {
      if (error.code === 'BUSY') return false
      throw error
    }
    this.#holds.set(JSON.stringify([key, value]), hold)
    return true
  }

  async unSet (key, value) {
    const name = JSON.stringify([key, value])
    const hold = this.#holds.get(name)
    this.#holds.delete(name)
    await hold?.release()
    return true
  }

  async close () {
    const engine = this.#engine
    this.#engine = undefined
    this.#holds.clear()
    await engine?.close()
  }
}

/** The URL that stands for a storage; undefined if it is the user's own, also one that changes what set or unSet do. */
function urlOf (storage) {
  const { set, unSet } = NativeStorage.prototype
  return storage.set === set && storage.unSet === unSet ? urls.get(storage) : undefined
}

/** Redis or Valkey. Several nodes, as an array or with commas between the hosts, are a quorum (Redlock). */
class RedisStorage extends NativeStorage {
  constructor (options) {
    const { url = 'redis://127.0.0.1:6379', keyPrefix } = checkObject(options)
    const nodes = Array.isArray(url) ? url : [url]
    if (nodes.length === 0) throw invalid('url is an empty array; expected the URLs of Redis nodes')
    for (const node of nodes) {
      checkText('url', node)
      if (!/^rediss?(\+unix)?:/i.test(node)) throw invalid('url: expected redis:, rediss: or redis+unix: in front')
    }
    const parameters = given({ prefix: keyPrefix })
    super(nodes.map((node) => withParameters(node, parameters)).join(' '))
  }
}

function postgresqlUrl ({ url, host, port, database, username, password }) {
  if (url !== undefined && !/^postgres(ql)?:/i.test(checkText('url', url))) {
    throw invalid('url: expected postgresql: or postgres: in front')
  }
  const parts = given({ host, database, username, password })
  if (port !== undefined && !/^\d+$/.test(String(port))) throw invalid(`port is ${shown(port)}; expected a number`)
  const from = /^[^:]*:(?:\/\/(?:([^/?]*)@)?([^/?]*)(?:\/([^?]*))?)?(\?.*)?$/s.exec(url ?? 'postgresql:')
  if (!from) throw invalid('url: expected postgresql://USER:PASSWORD@HOST:PORT/DATABASE')
  const [, credentials = '', authority = '', path = '', query = ''] = from
  // What is given by name comes before what the URL says.
  let [user = '', secret] = split(credentials, ':')
  if ('username' in parts) user = encode(parts.username)
  if ('password' in parts) secret = encode(parts.password)
  let place = authority
  if ('host' in parts) {
    const name = parts.host.includes(':') && !parts.host.startsWith('[') ? `[${parts.host}]` : parts.host
    place = name.startsWith('[') ? name : encode(name)
    const kept = /:(\d+)$/.exec(authority)
    if (port === undefined && kept) place += `:${kept[1]}`
  }
  if (port !== undefined) place = `${place.replace(/:\d+$/, '') || 'localhost'}:${port}`
  const who = user || secret !== undefined ? `${user}${secret !== undefined ? `:${secret}` : ''}@` : ''
  const name = 'database' in parts ? encode(parts.database) : path
  return `postgresql://${who}${place}${name ? `/${name}` : ''}${query}`
}

class PostgresqlStorage extends NativeStorage {
  constructor (options) {
    const { keyPrefix, tableName, ...place } = checkObject(options)
    super(withParameters(postgresqlUrl(place), given({ prefix: keyPrefix, table: tableName })))
  }
}

class MongoStorage extends NativeStorage {
  constructor (options) {
    const { url, database, collectionName, keyPrefix } = checkObject(options)
    if (!/^mongodb(\+srv)?:\/\//i.test(checkText('url', url))) {
      throw invalid('url: expected mongodb:// or mongodb+srv:// in front')
    }
    // MongoDB wants a slash between hosts and parameters.
    const [base, query] = split(url, '?')
    const complete = base.indexOf('/', base.indexOf('//') + 2) < 0 ? `${base}/` : base
    super(withParameters(query === undefined ? complete : `${complete}?${query}`,
      given({ database, collection: collectionName, prefix: keyPrefix })))
  }
}

/** A file, for the processes of one machine; without a path that of the command `dlock`. */
class SqliteStorage extends NativeStorage {
  constructor (options) {
    const { path: file } = checkObject(options)
    if (file === undefined) super('sqlite:')
    else if (checkText('path', file) === '' || file.includes('\0')) throw invalid('path: expected the name of a file')
    else super(`sqlite:${path.resolve(file).split(path.sep).map(encode).join(path.sep)}`)
  }
}

module.exports = { RedisStorage, PostgresqlStorage, MongoStorage, SqliteStorage, urlOf }
