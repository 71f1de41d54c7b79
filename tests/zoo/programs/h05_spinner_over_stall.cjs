// A terminal spinner, redrawn each 80 ms, over a dead stream: the screen moves, the work does not.
const zoo = require('./zoo.cjs');

const FRAMES = '⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏';
let frame = 0;
setInterval(() => {
  process.stdout.write(`\r${FRAMES[frame++ % FRAMES.length]} Thinking…`);
}, 80);

(async () => {
  const answer = await fetch(zoo.url('/stall'));
  let seen = 0;
  for await (const part of answer.body) {
    seen += String(Buffer.from(part)).split('data:').length - 1;
    if (seen === 3) zoo.mark();
  }
})();
