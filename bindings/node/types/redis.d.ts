export { RedisStorage, RedisStorage as default } from './index'
