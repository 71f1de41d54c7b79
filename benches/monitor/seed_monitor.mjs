// The peer: a monitor as the seed's interface asks for it, and no more. Counts what it received on SIGTERM.
// node seed_monitor.mjs REDIS_URL PORT
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const clients = createRequire(pathToFileURL(process.env.BENCH_NODE_MODULES + "/"));
const { createClient } = clients("redis");
const [url, port] = process.argv.slice(2);
const INTERVAL_MS = 30_000;
const BEATS_TO_FAIL = 3;

const agents = new Map();
let beats = 0;

function apply(beat) {
  beats++;
  agents.set(beat.agentId, {
    agentId: beat.agentId,
    state: "healthy",
    lastHeartbeat: beat.timestamp,
    missedBeats: 0,
    uptimeSeconds: Math.floor((Date.now() - beat.timestamp) / 1000),
  });
}

function sweep() {
  const now = Date.now();
  for (const agent of agents.values()) {
    if (now - agent.lastHeartbeat <= INTERVAL_MS * BEATS_TO_FAIL) continue;
    agent.missedBeats++;
    agent.state = agent.missedBeats >= BEATS_TO_FAIL ? "failed" : "missing";
  }
}

function health() {
  const list = [...agents.values()];
  const count = (state) => list.filter((agent) => agent.state === state).length;
  return { total: list.length, healthy: count("healthy"), missing: count("missing"), failed: count("failed"), agents: list };
}

const subscriber = createClient({ url });
await subscriber.connect();
await subscriber.subscribe("heartbeats", (message) => apply(JSON.parse(message)));
setInterval(sweep, 10_000);
createServer((_, response) => {
  response.setHeader("content-type", "application/json");
  response.end(JSON.stringify(health()));
}).listen(Number(port), "127.0.0.1");
process.on("SIGTERM", () => {
  console.log(`beats ${beats}`);
  process.exit(0);
});
