export { PostgresqlStorage, PostgresqlStorage as default } from './index.mjs'
