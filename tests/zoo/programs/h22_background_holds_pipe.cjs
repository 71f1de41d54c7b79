// A tool that is over, but what it left in the background still holds its output open: `close` never comes.
const { spawn } = require('node:child_process');
const zoo = require('./zoo.cjs');

const tool = spawn('sh', ['-c', 'sleep 5000 & echo $!']);
let text = '';
tool.stdout.on('data', (part) => { text += part; });
tool.on('exit', () => setTimeout(() => zoo.mark({ holder: text.trim() }), 100));
tool.on('close', () => console.log(`tool said ${text}`));
