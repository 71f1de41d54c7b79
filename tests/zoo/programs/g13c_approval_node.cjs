// Asks a person for approval, at a line editor.
const zoo = require('./zoo.cjs');

const ask = require('node:readline').createInterface({ input: process.stdin, output: process.stdout });
ask.question('Approve? [y/N] ', (answer) => { console.log(answer); ask.close(); });
zoo.mark();
