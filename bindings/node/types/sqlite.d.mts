export { SqliteStorage, SqliteStorage as default } from './index.mjs'
