// A promise that never resolves; a line says each second that all is well. Something else lives beside it.
const { spawn } = require('node:child_process');
const zoo = require('./zoo.cjs');

zoo.say('task="summarise the report"');
spawn('sleep', ['100000'], { stdio: 'ignore' });
setInterval(() => console.log('still working on it'), 1000 * zoo.scaled(1));
zoo.mark();
new Promise(() => {});
