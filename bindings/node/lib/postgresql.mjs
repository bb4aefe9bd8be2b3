// postgresql.mjs: import { PostgresqlStorage } from 'distributed-locks/postgresql'.
import storages from './storages.js'

export const { PostgresqlStorage } = storages
export default PostgresqlStorage
