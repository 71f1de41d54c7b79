// A server that nobody asks.
const zoo = require('./zoo.cjs');

require('node:http').createServer((q, a) => a.end('ok')).listen(0, '127.0.0.1', () => zoo.mark());
