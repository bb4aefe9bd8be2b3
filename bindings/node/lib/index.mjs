// index.mjs: the same classes as lib/index.js, as an ES module.
import LocksFactory from './index.js'

export default LocksFactory
export const {
  Lock, FailedToObtainKey, LockError, RedisStorage, PostgresqlStorage, MongoStorage, SqliteStorage
} = LocksFactory
export { LocksFactory }
