// Subscribed to a feed in which nothing happens but a ping each half minute, answered each time.
const fs = require('node:fs');
const zoo = require('./zoo.cjs');

const port = Number(fs.readFileSync(`${process.env.ZOO_DIR}/port`, 'utf8'));
const feed = require('node:net').connect(port, '127.0.0.1', () => {
  feed.write(`GET /feed?s=${zoo.scaled(30)} HTTP/1.1\r\nUpgrade: websocket\r\n\r\n`);
  zoo.mark();
});
feed.on('data', (part) => { if (part[0] === 0x89) feed.write(Buffer.from('\x8a\x84maskping', 'latin1')); });
