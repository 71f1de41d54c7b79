// A client written from the seed's interface: registers, beats COUNT times every INTERVAL seconds, and stops cleanly on SIGTERM
// or after its last beat: the hash says so, no beat does.
import { createClient } from "redis";

const [url, id, seconds, count] = process.argv.slice(2);
const interval = Number(seconds);
const key = `agent:${id}`;
const client = createClient({ url });
await client.connect();
let sequence = 0;
let timer;

async function register() {
  await client.hSet(key, { registeredAt: Date.now(), type: "seed", host: "h", pid: process.pid, status: "starting" });
  await client.expire(key, Math.ceil(interval * 4));
}

async function beat() {
  sequence += 1;
  const now = Date.now();
  const metrics = { cpuPercent: 1, memoryMB: 50, activeTasks: 0, queueDepth: 0, tokensUsedThisHour: 0, errorsLast5Min: 0 };
  const message = { agentId: id, agentType: "seed", timestamp: now, sequence, status: "healthy", metrics };
  // Published first: a time to live that is read now is that of the beat before.
  await client.publish("heartbeats", JSON.stringify(message));
  await client.hSet(key, { status: "healthy", lastHeartbeat: now, sequence, cpuPercent: 1, memoryMB: 50 });
  await client.expire(key, Math.ceil(interval * 4));
  if (sequence === Number(count)) await stop();
}

async function stop() {
  clearInterval(timer);
  await client.hSet(key, { status: "stopped", stoppedAt: Date.now() });
  await client.close();
  process.exit(0);
}

process.on("SIGTERM", stop);
await register();
timer = setInterval(beat, interval * 1000);
await beat();
