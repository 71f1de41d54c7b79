// Reads more input from a standard input that somebody left open.
const zoo = require('./zoo.cjs');

let text = '';
console.log('Reading additional input from stdin...');
process.stdin.on('data', (part) => { text += part; });
process.stdin.on('end', () => console.log(text.length));
setTimeout(() => zoo.mark(), 100);
