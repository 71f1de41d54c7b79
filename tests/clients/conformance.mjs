// What hb asks of a store, asked by node-redis.
import assert from "node:assert";
import { readFileSync } from "node:fs";
import { createClient } from "redis";

const script = (name) => readFileSync(new URL(`../../src/wire/scripts/${name}.lua`, import.meta.url), "utf8");
const url = process.argv[2];

for (const RESP of [2, 3]) {
  const client = createClient({ url, RESP, unstableResp3: true });
  await client.connect();
  await client.flushAll();

  await client.hSet("agent:a1", { status: "healthy", sequence: 1 });
  assert.deepEqual({ ...(await client.hGetAll("agent:a1")) }, { status: "healthy", sequence: "1" });
  assert.equal(await client.set("k", "v", { NX: true, PX: 5000 }), "OK");
  assert.equal(await client.set("k", "v", { NX: true }), null);
  assert.ok((await client.pTTL("k")) > 0);
  assert.equal(await client.incr("n"), 1);

  let found = [];
  for await (const keys of client.scanIterator({ MATCH: "agent:*" })) found = found.concat(keys);
  assert.deepEqual(found, ["agent:a1"]);

  const subscriber = client.duplicate();
  await subscriber.connect();
  const heard = new Promise((resolve) => subscriber.subscribe("heartbeats", resolve).then(async () => {
    const sha = await client.scriptLoad(script("register"));
    const keys = ["hb:epoch:{agent:a1}", "agent:a1", "hb:lease:{agent:a1}"];
    const [word, epoch] = await client.evalSha(sha, { keys, arguments: ["0", "i", "4000", "", "0", "status", "starting"] });
    assert.equal(word, "granted");
    const answer = await client.eval(script("beat"), {
      keys: ["agent:a1", "hb:epoch:{agent:a1}", "hb:control:{agent:a1}"],
      arguments: [String(epoch), "4000", "heartbeats", "the beat", "epoch", String(epoch)],
    });
    assert.deepEqual(answer, ["ok", ""]);
  }));
  assert.equal(await heard, "the beat");
  await subscriber.close();

  const reader = client.duplicate();
  await reader.connect();
  const read = reader.xRead({ key: "hb:events", id: "0" }, { BLOCK: 10000 });
  await client.xAdd("hb:events", "*", { event: "exited" }, { TRIM: { strategy: "MAXLEN", strategyModifier: "~", threshold: 10000 } });
  assert.match(JSON.stringify(await read), /exited/);
  await reader.close();
  await client.close();
  console.log(`ok RESP${RESP}`);
}
