// What users write who have `await using`; compiled, and run by package.test.mjs with a storage of its own.
import type { LocksFactory } from 'distributed-locks'

/** Tells by `seen` what is held inside of the block, then throws. */
export async function work (make: () => LocksFactory, seen: (held: boolean) => void): Promise<never> {
  await using factory = make()
  await using lock = factory.createLock('key')
  await lock.lock({ ttl: 5 })
  seen(lock.held)
  throw new Error('mine')
}
