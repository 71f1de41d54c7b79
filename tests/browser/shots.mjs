// The pictures of docs/img: invented agents beat until there are curves, then a real Chromium looks at them. Arguments: the
// dashboard's address, the port of its Redis, the directory, and for how many minutes they beat.

import { Browser, pause } from "./browser.mjs";
import { Stage } from "./stage.mjs";

const [url, redis, directory, minutes] = process.argv.slice(2);
const EVERY = 10; // seconds between beats
const stage = new Stage(Number(redis));
const began = Date.now();
const second = () => Math.floor((Date.now() - began) / 1000);

/// Figures that differ from agent to agent and from minute to minute, the same each time.
function wave(agent, low, high) {
  const at = second() / 60;
  const rise = Math.sin(at / (2 + (agent % 5)) + agent) + Math.sin(at / (0.9 + (agent % 3)) + 2 * agent);
  return low + ((high - low) * (rise + 2)) / 4;
}

const received = (value) => [{ signal: "tcp.bytes_received", value, source: "observed" }];

/// Who beats, and how: a row an agent.
const CAST = [
  { id: "claude-checkout", type: "claude", task: "Write integration tests for the checkout flow", progress: null, cpu: [1, 9], memory: [380, 430],
    sentence: "Claude is writing: 18 kB received from the model in 30 s, 4 files changed.", evidence: received("18 kB in 30 s") },
  { id: "claude-refactor", type: "claude", host: "node-2", task: "Split the payments module", progress: 60, cpu: [90, 230], memory: [1200, 1950],
    sentence: 'A tool is running: "cargo test" (pid 9121) has used 58 s of CPU.' },
  { id: "codex-api", type: "codex", host: "node-3", verdict: "waiting_model", task: "Add pagination to the orders API", progress: null, cpu: [0, 3], memory: [225, 245],
    sentence: "The model owes an answer for 2 min 14 s. The connection is alive. Budget 10 min.", since: () => 134 },
  { id: "embed-gpu-0", type: "python", host: "gpu-1", task: "Embed the product catalogue, shard 3 of 8", progress: 37, cpu: [370, 390], memory: [6050, 6250],
    sentence: "Progress reported: step 48,112, one every 0.4 s." },
  { id: "reviewer-1", type: "python", host: "node-2", verdict: "waiting_model", task: "Review change 4127", progress: 75, cpu: [0, 2], memory: [90, 100],
    sentence: "The model owes an answer for 21 s. The connection is alive. Budget 10 min.", since: () => 21 },
  { id: "writer-4", type: "node", task: "Draft the weekly report", progress: 42, cpu: [2, 14], memory: [150, 200], restarts: 1,
    sentence: "Progress reported: 42 %, was 41 % 12 s ago." },
  { id: "codex-triage", type: "codex", host: "node-3", verdict: "idle", task: null, progress: null, cpu: [0, 0], memory: [133, 133], status: "healthy",
    sentence: "No work is owed since 12:32." },
  { id: "planner-1", type: "python", verdict: "sleeping", task: null, progress: null, cpu: [0, 0], memory: [61, 61], status: "healthy",
    sentence: "It sleeps until 14:30:00: a timer with that deadline was read." },
  { id: "claude-docs", type: "claude", host: "node-2", task: "Document the webhooks", progress: null, cpu: [1, 12], memory: [360, 390],
    sentence: "Claude is writing: 9 kB received from the model in 30 s.",
    later: { at: -4 * 60, verdict: "waiting_input", cpu: [0, 0], sentence: "Claude asks for permission to run a command. Its prompt is open in terminal pts/3 on node-2." } },
  { id: "indexer-2", type: "python", task: "Index the support archive", progress: 71, cpu: [40, 80], memory: [300, 350],
    sentence: "Progress reported: 71 %, was 70 % 20 s ago.", runtime: { kind: "docker", id: "3fa91c07aabb" },
    later: { at: -6 * 60, verdict: "stalled", cpu: [0, 0], evidence: [
      { signal: "tcp.silent", value: "10.0.4.17:5432, open, silent for 6 min", source: "observed" },
      { signal: "task.progress", value: "71 % for 6 min", source: "reported" } ],
    sentence: "It owes work, but nothing has moved for 6 min 12 s (limit 5 min). It holds one open connection to 10.0.4.17:5432 that has been silent as long." } },
  { id: "mailer-3", type: "node", host: "gpu-1", task: "Send the invoices of November", progress: 12, cpu: [1, 5], memory: [80, 95], until: -11 * 60,
    sentence: "Progress reported: 12 %." },
];

/// What the processes of the stalled one wait for.
const TREE = [
  { pid: 4711, parent: 4702, command: "python3", state: "sleeping", waiting_on: ["the end of process 4719", "3 × a lock or condition"] },
  { pid: 4719, parent: 4711, command: "sh", state: "sleeping", waiting_on: ["the end of a child"] },
  { pid: 4720, parent: 4719, command: "psql", state: "sleeping", waiting_on: ["10.0.4.17:5432 over TCP"] },
  { pid: 4721, parent: 4719, command: "tee", state: "sleeping", waiting_on: ["data from a pipe (descriptor 0)"] },
];

const end = Number(minutes) * 60;
let isCaptured = false;

function beat() {
  CAST.forEach((of, n) => {
    const left = second() - end;
    if (of.until && left > of.until) return;
    const role = of.later && left > of.later.at ? { ...of, ...of.later } : of;
    const turned = role === of ? second() : left - of.later.at;
    if (role.verdict === "stalled" && !isCaptured) {
      stage.captured({ id: of.id, sentence: role.sentence, tree: TREE, lines: ["batch 71 of 100: 4,096 rows"] });
      isCaptured = true;
    }
    const { cpu, memory, later, until, since, ...rest } = role;
    stage.beat({
      verdict: "working", interval: EVERY, started: second() + 3600, ...rest, since: since ? since() : turned,
      cpu: wave(n, ...cpu), memory: wave(n + 7, ...memory),
    });
  });
}

stage.beat({ id: "nightly-eval", type: "python", host: "gpu-1", status: "stopped", pid: 0, exit: { code: 0 }, task: null, progress: null, interval: EVERY });
beat();
const beating = setInterval(beat, EVERY * 1000);
await pause(end * 1000);

const browser = await Browser.start();
for (const [name, path, look] of [
  ["fleet-light", "", { height: 1000 }],
  ["fleet-dark", "", { dark: true, height: 1000 }],
  ["fleet-phone-dark", "", { width: 375, height: 800, dark: true }],
  ["agent-light", "agents/indexer-2", { height: 1150 }],
]) {
  const page = await browser.page(look);
  await page.go(url + path);
  await page.until("the page is live", "!!document.querySelector('#live')?.textContent.startsWith('live')");
  await page.shot(`${directory}/${name}.png`);
}
await browser.end();
clearInterval(beating);
stage.end();
