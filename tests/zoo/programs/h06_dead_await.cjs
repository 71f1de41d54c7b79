// An awaited promise that nobody will resolve; a timer keeps the loop turning. The task was declared.
const zoo = require('./zoo.cjs');

zoo.say('task="summarise the report" state=working');
let ticks = 0;
setInterval(() => { ticks += 1; }, zoo.scaled(1, 0.1) * 1000);
setTimeout(async () => {
  zoo.mark();
  await new Promise(() => {});
}, 100);
