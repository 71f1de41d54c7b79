// What the Node programs share: scaled time, the mark of the moment they wedge, and the status line.
const fs = require('node:fs');
const net = require('node:net');

const SCALE = Number(process.env.ZOO_SCALE ?? 1);
const PEER = process.env.ZOO_PEER ?? '127.0.0.1:8000';
let contract = null;

exports.scaled = (seconds, least = 0) => Math.max(seconds * SCALE, least);
exports.url = (path) => `http://${PEER}${path}`;

exports.mark = (facts = {}) => {
  const path = process.env.ZOO_MARK;
  if (!path) return;
  fs.writeFileSync(`${path}.new`, Object.entries(facts).map(([key, value]) => `${key}=${value}\n`).join(''));
  fs.renameSync(`${path}.new`, path);
};

// Without a sidecar nobody listens, and that is no error.
exports.say = (line) => {
  const path = process.env.HB_SOCKET;
  if (!path) return;
  if (!contract) {
    contract = net.connect(path);
    contract.on('error', () => { contract = null; });
    contract.unref();
  }
  contract.write(`${line}\n`);
};
