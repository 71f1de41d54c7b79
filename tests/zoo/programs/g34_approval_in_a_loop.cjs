// A task, a question, and an event loop that ticks while it waits for the answer on its standard input.
const zoo = require('./zoo.cjs');

zoo.say('task="deploy"');
setInterval(() => process.stdout.write('.'), 1000 * zoo.scaled(1));
process.stdin.on('data', () => {});
zoo.mark();
