// No page has a serious fault for those who use a screen reader, a keyboard or little contrast. Arguments: the dashboard's
// address, then the pages.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { Browser } from "./browser.mjs";

const [url, ...paths] = process.argv.slice(2);
const axe = readFileSync(new URL("../clients/node_modules/axe-core/axe.min.js", import.meta.url), "utf8");
const browser = await Browser.start();
const faults = [];
try {
  for (const look of [{}, { dark: true }, { width: 375, height: 800 }]) {
    const page = await browser.page(look);
    for (const path of paths) {
      await page.go(url + path);
      await page.value(axe + ";0");
      const found = await page.value(`axe.run().then((result) => result.violations
        .filter((fault) => ["serious", "critical"].includes(fault.impact))
        .map((fault) => fault.id + ": " + fault.nodes.slice(0, 3).map((node) => node.html).join(" ")))`);
      faults.push(...found.map((fault) => `/${path} ${JSON.stringify(look)} ${fault}`));
    }
  }
} finally {
  await browser.end();
}
assert.deepEqual(faults, []);
