// A server whose handler runs a tool that waits for a model which thinks; the next client waits meanwhile.
const { execSync } = require('node:child_process');
const zoo = require('./zoo.cjs');

const think = `curl -s '${zoo.url(`/think?s=${zoo.scaled(480)}`)}'`;
const server = require('node:http').createServer((q, a) => a.end(execSync(think)));
server.listen(0, '127.0.0.1', () => {
  const at = `http://127.0.0.1:${server.address().port}`;
  const clients = `curl -s ${at} & sleep 0.3; echo > "$ZOO_MARK"; while curl -s ${at}; do :; done`;
  require('node:child_process').spawn('sh', ['-c', clients], { stdio: 'ignore', detached: true }).unref();
});
