// A tool server over pipes is killed after it took a request; nobody rejects the promise of the answer.
const { spawn } = require('node:child_process');
const zoo = require('./zoo.cjs');

zoo.say('task="call tool search" state=working');
const server = spawn(process.env.ZOO_PYTHON ?? 'python3', ['-c', 'import os, sys\nfor line in sys.stdin: os.kill(os.getpid(), 9)']);
const answer = new Promise((resolve) => server.stdout.on('data', resolve));
server.stdin.on('error', () => {});
server.stdin.write('{"jsonrpc":"2.0","id":1}\n');
server.on('close', () => zoo.mark({ child: server.pid }));
setInterval(() => {}, zoo.scaled(30, 1) * 1000);
answer.then(console.log);
