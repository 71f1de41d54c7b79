// A server whose handler runs a command and waits for it: the next client has come and nobody looks.
const { execSync } = require('node:child_process');
const zoo = require('./zoo.cjs');

const server = require('node:http').createServer({ requireHostHeader: false }, () => execSync('sleep 99999'));
server.listen(0, '127.0.0.1', () => {
  const poke = `curl -s '${zoo.url(`/poke?p=${server.address().port}`)}' >&2`;
  require('node:child_process').spawn('sh', ['-c', `${poke}; sleep 0.5; ${poke}; echo > "$ZOO_MARK"`], { stdio: 'ignore', detached: true }).unref();
});
