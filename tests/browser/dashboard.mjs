// The dashboard in a real browser. Arguments: the dashboard's address, the port of its Redis, the monitor's pid, and
// perhaps a directory for screenshots.

import assert from "node:assert/strict";
import { Browser, eventually } from "./browser.mjs";
import { Stage, proxy } from "./stage.mjs";

const [url, redis, monitor, shots] = process.argv.slice(2);
const stage = new Stage(Number(redis));
const browser = await Browser.start();
const pages = [];

async function open(path = "", options = {}) {
  const page = await browser.page(options);
  pages.push(page);
  await page.go(url + path);
  return page;
}

const named = (id) => `document.getElementById("a-${id}")`;
const live = "!!document.querySelector('#live')?.textContent.startsWith('live')";
const listed = (id) => `!!${named(id)}`;

const flows = {
  async "an empty fleet says how to begin, and its first agent appears without a reload"() {
    const page = await open();
    assert.equal(await page.value("document.querySelector('h1').textContent"), "No agent has been heard yet");
    await page.until("the page is live", live);
    await page.value("window.here = true");
    stage.beat({ id: "first" });
    await page.until("the first agent is listed", listed("first"));
    assert.equal(await page.value("window.here"), true);
  },

  async "a flip arrives, and focus and scroll stay where they are"() {
    for (let n = 0; n < 60; n += 1) stage.beat({ id: `calm-${String(n).padStart(2, "0")}` });
    const page = await open();
    await page.until("all agents are listed", `document.querySelectorAll("#rows tr").length === 61`);
    await page.until("the page is live", live);
    await page.value(`window.scrollTo(0, 900); document.querySelector("#theme").focus({ preventScroll: true })`);
    stage.beat({ id: "calm-07", verdict: "stalled", sentence: "It owes work, but nothing has moved for 6 min 12 s (limit 5 min)." });
    await page.until("calm-07 stands at the top", `${named("calm-07")}?.matches("li.item")`);
    assert.equal(await page.value("document.querySelector('h1').textContent"), "1 agent needs you");
    assert.equal(await page.value("document.title"), "(1) fleet · hb");
    assert.equal(await page.value("document.activeElement.id"), "theme");
    assert.ok((await page.value("window.scrollY")) >= 900, "the page has scrolled");
  },

  async "rows stand still while the reader is in the list, and one link shows what changed"() {
    const page = await open();
    await page.until("the page is live", live);
    await page.value(`${named("calm-20")}.querySelector("a").focus()`);
    stage.beat({ id: "calm-30", verdict: "waiting_input", sentence: "It asks for permission." });
    await page.until("the cell changes in place", `${named("calm-30")}.querySelector(".st").textContent.includes("waiting for you")`);
    assert.equal(await page.value(`${named("calm-30")}.nodeName`), "TR");
    assert.equal(await page.value("document.activeElement.textContent"), "calm-20");
    await page.value(`document.querySelector("main .bar small a").click()`);
    assert.equal(await page.value(`${named("calm-30")}.nodeName`), "LI");
    assert.equal(await page.value("document.activeElement.textContent"), "calm-20");
  },

  async "a filter stands in the address"() {
    stage.beat({ id: "elsewhere", host: "node-2" });
    const page = await open();
    await page.until("the host is offered", `!!document.querySelector("option[value=node-2]")`);
    await page.act(`(() => { const hosts = document.querySelector("select[name=host]"); hosts.value = "node-2"; hosts.dispatchEvent(new Event("change", { bubbles: true })); })()`);
    await page.until("the address names the host", `location.search === "?host=node-2" && document.readyState === "complete"`);
    assert.equal(await page.value(`document.querySelectorAll("#rows tr").length`), 1);
  },

  async "hostile texts are text"() {
    stage.beat({ id: "hostile", task: "<script>alert(1)</script>\u202egnp.exe\u0007<img src=x onerror=alert(1)>" });
    const page = await open("?q=hostile");
    const cell = await page.until("it is listed", `${named("hostile")}?.querySelector(".do span").textContent`);
    assert.equal(cell, "<script>alert(1)</script>\\u{202e}gnp.exe\\u{7}<img src=x onerror=alert(1)>");
    const agent = await open("agents/hostile");
    assert.equal(await agent.value(`document.querySelectorAll("main script, main img").length`), 0);
  },

  async "dark follows the system, and nothing is wider than a phone"() {
    const colour = "getComputedStyle(document.body).backgroundColor";
    const [light, dark] = [await open(), await open("", { dark: true })];
    assert.equal(await light.value(colour), "rgb(247, 247, 248)");
    assert.equal(await dark.value(colour), "rgb(15, 17, 20)");
    for (const path of ["", "?sort=cpu", "agents/hostile", "incidents", "status"]) {
      const phone = await open(path, { width: 375, height: 800 });
      assert.equal(await phone.value("document.documentElement.scrollWidth"), 375, `${path} scrolls sideways`);
      if (shots) await phone.shot(`${shots}/phone-${path.replace(/\W/g, "") || "fleet"}.png`);
    }
    if (shots) await light.shot(`${shots}/fleet-light.png`);
    if (shots) await dark.shot(`${shots}/fleet-dark.png`);
  },

  async "without a script the page is whole and loads itself again"() {
    const page = await open("", { script: false });
    assert.ok((await page.value(`document.querySelectorAll("#rows tr").length`)) > 50);
    assert.equal(await page.value(`document.querySelector("meta[http-equiv=refresh]")?.content`), "10");
    assert.ok((await page.value(`document.querySelector("#live").textContent`)).startsWith("as of "));
    const still = await open("?refresh=off", { script: false });
    assert.equal(await still.value(`document.querySelector("meta[http-equiv=refresh]")`), null);
  },

  async "a proxy may serve it below a path"() {
    const below = await proxy(url);
    const page = await browser.page();
    await page.go(below.url);
    await page.until("the page is live", live);
    await page.act(`${named("calm-01")}.querySelector("a").click()`);
    await page.until("the agent's page is live", `location.pathname === "/hb/agents/calm-01" && ${live}`);
    await page.act(`document.querySelector(".brand").click()`);
    await page.until("the fleet is shown", `location.pathname === "/hb/" && ${live}`);
    assert.deepEqual(page.complaints, []);
    await browser.send("Target.closeTarget", { targetId: page.target });
    below.end();
  },

  async "ten thousand agents have pages of a hundred, and keys move through the rows"() {
    for (const { target } of pages) await browser.send("Target.closeTarget", { targetId: target });
    for (let n = 0; n < 10000; n += 1) stage.beat({ id: `many-${String(n).padStart(5, "0")}`, host: `node-${10 + (n % 20)}` });
    const page = await open("?sort=id");
    const total = (count) => `document.querySelector(".pager")?.textContent.includes("of ${count}")`;
    await page.until("ten thousand agents are known", total(10063));
    assert.equal(await page.value(`document.querySelectorAll("#rows tr").length`), 100);
    await page.value(`document.querySelector("#rows a").focus()`);
    await page.value(`document.activeElement.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowDown", bubbles: true }))`);
    assert.equal(await page.value("document.activeElement.textContent"), "calm-01");
    await page.go(`${url}?sort=id&page=101`);
    assert.equal(await page.value(`document.querySelectorAll("#rows tr").length`), 63);
    await page.go(`${url}?host=node-13`);
    await page.until("one host has five hundred of them", total(500));
    await page.act(`document.querySelector("th a[href*='sort=cpu']").click()`);
    await page.until("the filter stays with the order", `location.search.includes("host=node-13") && location.search.includes("sort=cpu") && ${total(500)}`);
  },

  async "a flip among ten thousand arrives, and focus and scroll stay"() {
    const page = await open();
    await page.until("the page is live", live);
    await page.value(`window.scrollTo(0, 1500); document.querySelector("#theme").focus({ preventScroll: true })`);
    stage.beat({ id: "many-07777", verdict: "stalled", sentence: "It owes work, but nothing has moved for 6 min 12 s (limit 5 min)." });
    await page.until("many-07777 stands at the top", `${named("many-07777")}?.matches("li.item")`);
    assert.equal(await page.value("document.activeElement.id"), "theme");
    assert.ok((await page.value("window.scrollY")) >= 1500, "the page has scrolled");
  },

  async "a page whose monitor is gone is grey and says how old it is"() {
    const page = await open();
    await page.until("the page is live", live);
    for (const each of pages) assert.deepEqual(each.complaints, []);
    process.kill(Number(monitor), "SIGKILL");
    await page.until("the page is stale", `document.querySelector("main").classList.contains("stale")`);
    assert.match(await page.value(`document.querySelector("#live").textContent`), /^last known, \d+ s old/);
  },
};

let failed = 0;
for (const [name, flow] of Object.entries(flows)) {
  try {
    await flow();
    console.log(`ok ${name}`);
  } catch (error) {
    failed += 1;
    console.log(`FAILED ${name}\n${error.stack}`);
  }
}
const foreign = pages.flatMap((page) => page.requests).filter((to) => !to.startsWith(url) && !to.startsWith("data:") && to !== "about:blank");
if (foreign.length > 0) console.log(`FAILED requests to others: ${foreign.join(" ")}`);
await browser.end();
stage.end();
process.exit(failed || foreign.length ? 1 : 0);
