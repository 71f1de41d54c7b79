// Twenty connections a second to a port where nobody listens, each with the same complaint.
const net = require('node:net');
const zoo = require('./zoo.cjs');

const closed = net.createServer().listen(0, '127.0.0.1', () => {
  const { port } = closed.address();
  closed.close();
  zoo.mark();
  setInterval(() => net.connect(port, '127.0.0.1').on('error', () => console.log('API error 529 overloaded, retrying')), 50);
});
