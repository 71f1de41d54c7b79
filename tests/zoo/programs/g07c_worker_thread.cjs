// A worker thread computes; the first one waits for its message.
const { Worker } = require('node:worker_threads');
const zoo = require('./zoo.cjs');

new Worker('let n = 0; for (let i = 0; ; i += 1) n = (n * 31 + i) % 1000003;', { eval: true });
zoo.mark();
