// A regular expression with nested repetition on a text that almost matches.
require('./zoo.cjs').mark();
console.log(/^(a+)+$/.test(`${'a'.repeat(60)}!`));
