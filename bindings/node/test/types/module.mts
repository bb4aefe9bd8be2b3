// What users write, as ES modules; only compiled.
import LocksFactory, {
  FailedToObtainKey, LockError, MongoStorage, PostgresqlStorage, RedisStorage, SqliteStorage, type IStorage, type LockInfo
} from 'distributed-locks'
import { RedisStorage as FromRedis } from 'distributed-locks/redis'
import { PostgresqlStorage as FromPostgresql } from 'distributed-locks/postgresql'
import { MongoStorage as FromMongodb } from 'distributed-locks/mongodb'

class Own implements IStorage {
  async init () {}
  async set (key: string, value: string, { ttl }: { ttl: number }) { return ttl > 0 && key !== value }
  async unSet () { return true }
  async close () {}
}

export async function example (url: string): Promise<LockInfo | null> {
  const storages = [new RedisStorage({ keyPrefix: 'my-locks', url }), new FromRedis({ url: [url, url] }),
    new PostgresqlStorage({ host: 'h', port: 5432, database: 'd', username: 'u', password: 'p', tableName: 't' }),
    new FromPostgresql({ url }), new MongoStorage({ url, database: 'd' }), new FromMongodb({ url }),
    new SqliteStorage({ path: url }), new Own()]
  const factory = new LocksFactory(storages[0]!, { machineId: 'm' })
  await factory.init()
  const lock = factory.createLock('my-key')
  lock.on('lost', (error: LockError) => console.log(error.code))
  try {
    const done: true = await lock.lock({ ttl: 10, interval: 5, retires: 3, renew: true, signal: new AbortController().signal })
    const fence: bigint = lock.fence
    console.log(done, fence, lock.remaining.toFixed(), await lock.extend(5))
  } catch (error) {
    if (error instanceof FailedToObtainKey) console.log(error.key, error.holder, error.remaining)
  } finally {
    await lock.unlock()
  }
  const sum: number = await factory.using('key', { wait: 5 }, async (signal) => signal.aborted ? 1 : 2)
  const text: string = await factory.using('key', () => 'x')
  console.log(sum, text, (await factory.list('a'))[0]?.owner)
  // @ts-expect-error a key is a string
  factory.createLock(5)
  // @ts-expect-error seconds are a number
  await lock.lock({ ttl: '10' })
  return factory.inspect('key')
}
