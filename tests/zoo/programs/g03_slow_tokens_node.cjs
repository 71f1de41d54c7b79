// A token each 0.4 s.
const zoo = require('./zoo.cjs');

(async () => {
  zoo.mark();
  const answer = await fetch(zoo.url('/slow'));
  for await (const part of answer.body) if (part.length === 0) break;
})();
