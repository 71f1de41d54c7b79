// Waits for the exit of a child whose output nobody reads, and there is too much of it.
const { spawn } = require('node:child_process');
const zoo = require('./zoo.cjs');

const child = spawn(process.env.ZOO_PYTHON ?? 'python3', ['-c', 'import sys; sys.stdout.write("x" * 1000000)'], { stdio: ['ignore', 'pipe', 'ignore'] });
child.on('exit', (code) => console.log(`ended with ${code}`));
child.on('spawn', () => zoo.mark({ child: child.pid }));
