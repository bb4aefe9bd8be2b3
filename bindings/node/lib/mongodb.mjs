// mongodb.mjs: import { MongoStorage } from 'distributed-locks/mongodb'.
import storages from './storages.js'

export const { MongoStorage } = storages
export default MongoStorage
