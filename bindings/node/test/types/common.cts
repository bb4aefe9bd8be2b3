// What users write, as CommonJS; only compiled.
import LocksFactory, { FailedToObtainKey, RedisStorage } from 'distributed-locks'
import { MongoStorage } from 'distributed-locks/mongodb'

export const factories = [new LocksFactory(new RedisStorage()), new LocksFactory(new MongoStorage({ url: 'mongodb://h' }))]
export const isBusy = (error: unknown): boolean => error instanceof FailedToObtainKey
