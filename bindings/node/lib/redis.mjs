// redis.mjs: import { RedisStorage } from 'distributed-locks/redis'.
import storages from './storages.js'

export const { RedisStorage } = storages
export default RedisStorage
