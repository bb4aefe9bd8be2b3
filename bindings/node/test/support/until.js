// until.js: tests wait for what they want to see, not for a time.
'use strict'

const { setTimeout: pause } = require('node:timers/promises')

/** Resolves when `condition()` is true or resolves so; the test runner's limit ends what never comes true. */
async function until (condition) {
  while (!await condition()) await pause(5)
}

module.exports = { until }
