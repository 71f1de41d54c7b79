// A person restarts an agent on its page. Arguments: the dashboard's address, the agent, the token.

import assert from "node:assert/strict";
import { Browser } from "./browser.mjs";

const [url, id, token] = process.argv.slice(2);
const browser = await Browser.start();
try {
  const page = await browser.page();
  await page.go(`${url}agents/${id}`);
  assert.ok(await page.value(`document.querySelector(".moves button").disabled`), "nothing is offered before signing in");
  assert.match(await page.value(`document.querySelector("#why-restart").textContent`), /not signed in/);
  await page.go(`${url}status`);
  await page.act(`document.querySelector("#signin input").value = ${JSON.stringify(token)}; document.querySelector("#signin").requestSubmit()`);
  await page.until("the browser is signed in", `!!document.querySelector("form[action=pause]")`);
  await page.go(`${url}agents/${id}`);
  await page.until("a restart is offered", `!!document.querySelector("#confirm-restart")`);
  const process = await page.value(`document.querySelector(".kv").textContent.match(/Process(\\d+)/)[1]`);
  assert.equal(await page.value(`getComputedStyle(document.querySelector("#confirm-restart")).display`), "none");
  const asked = `getComputedStyle(document.querySelector("#confirm-restart")).display`;
  const ask = `document.querySelector(".moves a[href='#confirm-restart']").click()`;
  await page.value(ask);
  await page.until("it asks first", `${asked} === "block"`);
  await page.until("the harmless answer has the focus", `document.activeElement.textContent === "Keep it"`);
  await page.value(`document.activeElement.dispatchEvent(new KeyboardEvent("keydown", { key: "Escape", bubbles: true }))`);
  await page.until("escape leaves the question", `${asked} === "none"`);
  await page.value(ask);
  await page.until("it asks again", `${asked} === "block"`);
  await page.act(`document.querySelector("#confirm-restart button").click()`);
  const shown = `document.querySelector(".kv").textContent.match(/Process(\\d+)/)?.[1]`;
  await page.until("another process runs", `(${shown} ?? "${process}") !== "${process}"`);
  assert.deepEqual(page.complaints, []);
} finally {
  await browser.end();
}
