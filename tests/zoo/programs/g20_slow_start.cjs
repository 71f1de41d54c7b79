// Loads a model for 90 s before its first word, then serves.
const fs = require('node:fs');
const path = require('node:path');
const zoo = require('./zoo.cjs');

const model = path.join(process.env.ZOO_DIR, 'model');
fs.writeFileSync(model, Buffer.alloc(50_000_000, 1));
zoo.mark();
const until = Date.now() + zoo.scaled(90) * 1000;
const file = fs.openSync(model, 'r');
const part = Buffer.alloc(1_000_000);
const load = () => {
  fs.readSync(file, part, 0, part.length, Math.floor(Math.random() * 49) * 1_000_000);
  if (Date.now() < until) return void setTimeout(load, 100);
  require('node:http').createServer((q, a) => a.end('ok')).listen(0, '127.0.0.1', () => console.log('ready'));
};
load();
