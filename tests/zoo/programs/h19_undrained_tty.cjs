// A frame each 16 ms into a terminal whose other end nobody reads.
const zoo = require('./zoo.cjs');

let frame = 0;
zoo.mark();
setInterval(() => {
  process.stdout.write(`\u001b[2J\u001b[Hframe ${frame++} ${'#'.repeat(2000)}`);
}, 16);
