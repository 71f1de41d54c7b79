// An agent with a task that looks every ten seconds whether a file is there.
const fs = require('node:fs');
const zoo = require('./zoo.cjs');

zoo.say('task="wait for the export"');
zoo.mark();
setInterval(() => fs.readdirSync(process.env.ZOO_DIR), zoo.scaled(10) * 1000);
