import { LocksFactory } from './index.js'

export * from './index.js'
export { LocksFactory as default }
