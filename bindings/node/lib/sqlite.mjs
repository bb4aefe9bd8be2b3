// sqlite.mjs: import { SqliteStorage } from 'distributed-locks/sqlite'.
import storages from './storages.js'

export const { SqliteStorage } = storages
export default SqliteStorage
