// What a browser test has around the page: beats into a Redis, and a proxy that serves the dashboard below a path.

import http from "node:http";
import net from "node:net";

/// Agents whose beats the test writes itself.
export class Stage {
  constructor(port) {
    this.socket = net.connect(port, "127.0.0.1");
    this.socket.on("data", () => {});
    this.sequences = new Map();
  }

  /// One beat: the agent, its verdict, and what differs from the usual. Seconds where nothing else is named.
  beat({
    id, verdict = "working", task = "Draft the weekly report", progress = 42, sentence = "Progress reported: 42 %.", host = "node-1",
    type = "writer", cpu = 3.14, memory = 182, interval = 600, since = 372, started = 9, restarts = 0, status = "busy",
    evidence = [{ signal: "tcp.bytes_received", value: "18 kB in 30 s", source: "observed" }], runtime = null, pid = 4711, exit = null,
  }) {
    const now = Date.now();
    const sequence = (this.sequences.get(id) ?? 0) + 1;
    this.sequences.set(id, sequence);
    this.command("PUBLISH", "heartbeats", JSON.stringify({
      agentId: id, agentType: type, timestamp: now, sequence, status,
      metrics: { cpuPercent: cpu, memoryMB: memory, activeTasks: 1, queueDepth: 0, tokensUsedThisHour: 0, errorsLast5Min: 0 },
      currentTask: task, taskProgress: progress,
      hb: {
        v: 1, intervalMs: interval * 1000, epoch: 7, slot: sequence, instance: `i-${id}`, host, pid, startedAt: now - started * 1000,
        restarts, ready: true, activity: { verdict, since: now - since * 1000, sentence, evidence }, runtime, exit,
      },
    }));
  }

  /// The event with which a sidecar reports such a verdict: what each process waits for, and the last lines.
  captured({ id, verdict = "stalled", sentence, tree, lines = [], pid = 4711 }) {
    const detail = { incarnation: 0, card: { pid, verdict, sentence, tree, lastLines: lines } };
    const fields = { event: verdict, agent: id, epoch: "7", at: String(Date.now()), detail: JSON.stringify(detail) };
    this.command("XADD", "hb:events", "*", ...Object.entries(fields).flat());
  }

  command(...words) {
    const parts = words.map((word) => `$${Buffer.byteLength(word)}\r\n${word}\r\n`);
    this.socket.write(`*${words.length}\r\n${parts.join("")}`);
  }

  end() {
    this.socket.destroy();
  }
}

/// Serves what stands at `to` below `/hb/`, as a proxy that takes the path away.
export async function proxy(to) {
  const { hostname, port } = new URL(to);
  const server = http.createServer((request, response) => {
    if (!request.url.startsWith("/hb/")) return response.writeHead(404).end();
    const onward = http.request(
      { hostname, port, path: request.url.slice(3), method: request.method, headers: { ...request.headers, host: `${hostname}:${port}` } },
      (answer) => {
        response.writeHead(answer.statusCode, answer.headers);
        answer.pipe(response);
      },
    );
    onward.on("error", () => response.destroy());
    response.on("close", () => onward.destroy());
    request.pipe(onward);
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return { url: `http://127.0.0.1:${server.address().port}/hb/`, end: () => server.closeAllConnections() || server.close() };
}
