// fetch() whose body never ends.
const zoo = require('./zoo.cjs');

(async () => {
  const answer = await fetch(zoo.url('/stall'));
  let seen = 0;
  for await (const part of answer.body) {
    seen += String(Buffer.from(part)).split('data:').length - 1;
    if (seen === 3) zoo.mark();
  }
})();
