// Types of distributed-locks. Times are seconds; fractions are allowed.

declare global {
  interface SymbolConstructor {
    readonly asyncDispose: unique symbol
  }
}

export interface LockOptions {
  /** Time to live: the lock ends after it by itself. Default 10. */
  ttl?: number
  /** Attempts in all; Infinity is allowed. Default 3. Without effect if `wait` is given. */
  retries?: number
  /** The same as `retries`: how the documentation of the npm package spells it. */
  retires?: number
  /** Pause between two attempts; with `wait`, the longest pause, or 32 to 64 times that while the storage tells of releases.
   * Default 1. */
  interval?: number
  /** Wait in line for so long at most, and be woken by a release; Infinity is allowed. */
  wait?: number
  /** Extend the lock by itself, until it is unlocked. */
  renew?: boolean
  /** Ends the waiting: lock() is rejected with the signal's reason. */
  signal?: AbortSignal
}

export interface LocksFactoryOptions {
  /** First part of the owner by which inspect() names a hold. Default: the name of the host. */
  machineId?: string
  /** Of one operation of the storage. Default 5. */
  timeout?: number
}

/** A storage of your own. */
export interface IStorage {
  init?(): unknown
  /** Sets the key if nobody has it, for `ttl` seconds; tells whether it did. */
  set(key: string, value: string, options: StorageOptions): Promise<boolean> | boolean
  /** Removes the key if its value is this one. */
  unSet(key: string, value: string): unknown
  close?(): unknown
}

export interface StorageOptions {
  ttl: number
}

export interface LockInfo {
  key: string
  /** machine:pid:random */
  owner: string
  /** 0n: the storage has none, or another library holds the key. */
  fence: bigint
  /** What the holder last asked for; undefined: not known. */
  ttl: number | undefined
  /** For how long it has been held; undefined: not known. */
  held: number | undefined
  /** When it ends unless somebody extends it; undefined: not known. */
  remaining: number | undefined
}

export type LockErrorCode =
  'BUSY' | 'LOST' | 'UNAVAILABLE' | 'REFUSED' | 'INVALID' | 'UNSUPPORTED' | 'NOMEM' | 'CANCELLED'

export class LockError extends Error {
  readonly code: LockErrorCode
  readonly key?: string
}

/** Somebody else has the key. Nothing else is reported so. */
export class FailedToObtainKey extends LockError {
  readonly code: 'BUSY'
  readonly key: string
  /** Who has it; undefined: not known. */
  readonly holder?: string
  /** Seconds until it ends, unless it is extended; undefined: not known. */
  readonly remaining?: number
}

export interface Lock {
  /** Obtains the key; rejects with FailedToObtainKey if somebody else has it. */
  lock(options?: LockOptions): Promise<true>
  /** Gives the key up; harmless if it expired, was lost or was never obtained. */
  unlock(): Promise<true>
  /** Lets the lock live for so long from now; without `ttl` for as long as it was obtained for. */
  extend(ttl?: number): Promise<true>
  readonly key: string
  /** Grows with every hold of any key in the storage; 0n: not held, or not to be had. */
  readonly fence: bigint
  /** Seconds for which the hold is valid yet. */
  readonly remaining: number
  /** Held, valid, and not reported lost. */
  readonly held: boolean
  readonly owner: string
  /** The lock is lost, or will be before long; once per hold. */
  on(event: 'lost', listener: (error: LockError) => void): this
  once(event: 'lost', listener: (error: LockError) => void): this
  off(event: 'lost', listener: (error: LockError) => void): this
  [Symbol.asyncDispose](): Promise<void>
}

export const Lock: { readonly prototype: Lock }

export class LocksFactory {
  constructor(storage: IStorage, options?: LocksFactoryOptions)
  init(): Promise<void>
  createLock(key: string): Lock
  using<T>(key: string, routine: (signal: AbortSignal, lock: Lock) => T | Promise<T>): Promise<T>
  using<T>(key: string, options: Omit<LockOptions, 'renew'> | undefined,
    routine: (signal: AbortSignal, lock: Lock) => T | Promise<T>): Promise<T>
  /** Who holds the key; null: nobody. */
  inspect(key: string): Promise<LockInfo | null>
  /** Every held key that begins with `prefix`, ordered by key. */
  list(prefix?: string): Promise<LockInfo[]>
  /** Takes the key away from whoever holds it; null: nobody did. */
  break(key: string): Promise<LockInfo | null>
  /** Ends what waits, and releases what is held. */
  close(): Promise<void>
  [Symbol.asyncDispose](): Promise<void>
}

declare abstract class NativeStorage implements IStorage {
  init(): Promise<void>
  set(key: string, value: string, options: StorageOptions): Promise<boolean>
  unSet(key: string, value: string): Promise<true>
  close(): Promise<void>
}

export class RedisStorage extends NativeStorage {
  /** Several URLs, or hosts with commas between in one, are the nodes of a quorum. */
  constructor(options?: { url?: string | string[], keyPrefix?: string })
}

export class PostgresqlStorage extends NativeStorage {
  constructor(options?: {
    host?: string, port?: number | string, database?: string, username?: string, password?: string, url?: string,
    keyPrefix?: string, tableName?: string
  })
}

export class MongoStorage extends NativeStorage {
  constructor(options: { url: string, database?: string, collectionName?: string, keyPrefix?: string })
}

export class SqliteStorage extends NativeStorage {
  constructor(options?: { path?: string })
}

export default LocksFactory
