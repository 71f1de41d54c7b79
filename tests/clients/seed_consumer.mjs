// A consumer written from the seed's interface: prints the first beat it hears and ends.
import { createClient } from "redis";

const subscriber = createClient({ url: process.argv[2] });
await subscriber.connect();
await subscriber.subscribe("heartbeats", async (message) => {
  const beat = JSON.parse(message);
  for (const field of ["agentId", "agentType", "timestamp", "sequence", "status", "metrics"]) {
    if (beat[field] === undefined) throw new Error(`no ${field} in ${message}`);
  }
  for (const field of ["cpuPercent", "memoryMB", "activeTasks", "queueDepth", "tokensUsedThisHour", "errorsLast5Min"]) {
    if (typeof beat.metrics[field] !== "number") throw new Error(`no metrics.${field} in ${message}`);
  }
  console.log(beat.agentId, beat.agentType, beat.status, beat.sequence);
  process.exit(0);
});
