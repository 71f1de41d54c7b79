// What happens on the demo's stage, on the pages of its agents as it happens. Prints `ready` when the browser is there, and
// reads the dashboard's address from standard input then.

import assert from "node:assert/strict";
import { createInterface } from "node:readline";
import { Browser, eventually } from "./browser.mjs";

/// What the timeline of each agent shows, in this order.
const SCENES = {
  "writer-1": ["failed (killed)", "started again"],
  "indexer-1": ["failed (hung)", "captured before it was ended", "started again"],
  "scraper-1": ["failed (crash loop)", "you: paged"],
  "mailer-1": ["failed (no heartbeat)", "rung 1, exec: hb runs", "rung 1, exec: it is back"],
};

const browser = await Browser.start();
try {
  await browser.send("Browser.getVersion");
  console.log("ready");
  const lines = createInterface({ input: process.stdin });
  const { value: url } = await lines[Symbol.asyncIterator]().next();
  lines.close();
  await Promise.all(Object.entries(SCENES).map(async ([id, signs]) => {
    await eventually(`${id} is there`, async () => (await fetch(`${url}health/agents/${id}`)).ok);
    const page = await browser.page();
    // A tab behind another one is hidden, and a hidden page is not kept current.
    await page.send("Emulation.setFocusEmulationEnabled", { enabled: true });
    await page.go(`${url}agents/${id}`);
    await page.value("window.isFirstLoad = true");
    for (const sign of signs) {
      await page.until(`${id}: ${sign}`, `document.querySelector(".tl")?.textContent.includes(${JSON.stringify(sign)})`);
    }
    assert.equal(await page.value("window.isFirstLoad"), true, "the page was not loaded again");
    assert.deepEqual(page.complaints, []);
    if (id === "indexer-1") assert.ok(await page.value(`document.querySelector("#tree") !== null`), "its processes are shown");
  }));
} finally {
  await browser.end();
}
