export { MongoStorage, MongoStorage as default } from './index.mjs'
