// A producer written from the seed's interface: writes its hash, publishes two beats, ends without a word.
import { createClient } from "redis";

const client = createClient({ url: process.argv[2] });
await client.connect();
for (const sequence of [1, 2]) {
  const now = Date.now();
  await client.hSet("agent:node-1", { registeredAt: now, type: "writer", status: "healthy", lastHeartbeat: now, sequence });
  await client.expire("agent:node-1", 120);
  await client.publish("heartbeats", JSON.stringify({
    agentId: "node-1", agentType: "writer", timestamp: now, sequence, status: "healthy",
    metrics: { cpuPercent: 1, memoryMB: 50, activeTasks: 0, queueDepth: 0, tokensUsedThisHour: 0, errorsLast5Min: 0 },
  }));
}
await client.close();
