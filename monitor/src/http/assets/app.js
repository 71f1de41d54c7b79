// Fetches the page again when something changed, and brings the screen into step: focus and scroll stay.

const page = document.documentElement;
const root = page.dataset.root || "./";
const $ = (selector, within = document) => within.querySelector(selector);
const all = (selector, within = document) => [...within.querySelectorAll(selector)];

const POLL = 10000; // figures
const BEAT = 2000; // fetches
const STALE = 15000; // grey
const SAY = 5000;

let offset = Number(page.dataset.now) - Date.now(); // the server's clock
let fresh = Date.now();
let stream = null;
let connected = false;
let wanted = 0;
let fetching = false;
let held = null; // a page that waits
let said = 0;

// ---- times

const UNITS = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];

function short(seconds) {
  const [size, unit] = UNITS.find(([size]) => seconds >= size) || [1, "s"];
  return `${Math.floor(seconds / size)} ${unit}`;
}

function long(seconds) {
  if (seconds >= 600 && seconds < 3600) return short(seconds);
  const at = UNITS.findIndex(([size]) => seconds >= size);
  if (at < 0 || at === 3) return `${seconds} s`;
  const [size] = UNITS[at];
  const [small, unit] = UNITS[at + 1];
  const rest = Math.floor((seconds % size) / small);
  return short(seconds) + (rest ? ` ${rest} ${unit}` : "");
}

const two = (n) => String(n).padStart(2, "0");
const clock = (d) => `${two(d.getHours())}:${two(d.getMinutes())}:${two(d.getSeconds())}`;

function near(date) {
  const now = new Date(Date.now() + offset);
  const day = (d) => new Date(d.getFullYear(), d.getMonth(), d.getDate()).getTime();
  const days = Math.round((day(now) - day(date)) / 864e5);
  if (days === 0) return clock(date);
  if (days === 1) return `yesterday ${clock(date).slice(0, 5)}`;
  return `${date.getDate()} ${date.toLocaleString("en", { month: "short" })} ${clock(date).slice(0, 5)}`;
}

function times(within) {
  for (const time of all("time[data-k]", within)) {
    const date = new Date(time.dateTime);
    const age = Math.max(0, Math.floor((Date.now() + offset - date) / 1000));
    const shapes = { a: () => short(age) + " ago", f: () => short(age), d: () => long(age), c: () => near(date) };
    const text = shapes[time.dataset.k]();
    if (time.textContent !== text) time.textContent = text;
    if (!time.title) time.title = time.dateTime;
  }
}

// ---- bringing the page into step

const key = (node) => node.id || (node.getAttribute && node.getAttribute("aria-labelledby")) || "";

function morph(from, to) {
  if (from.nodeName !== to.nodeName) return from.replaceWith(document.importNode(to, true));
  if (from.nodeType !== Node.ELEMENT_NODE) {
    if (from.data !== to.data) from.data = to.data;
    return;
  }
  const typed = from.matches("input,select,option");
  for (const { name } of [...from.attributes]) {
    if (!to.hasAttribute(name) && !typed && !(from.matches("button,dialog") && name !== "class")) from.removeAttribute(name);
  }
  for (const { name, value } of to.attributes) {
    if (from.getAttribute(name) !== value && !typed && name !== "hidden") from.setAttribute(name, value);
  }
  const state = from.matches(".st") ? from.textContent.split(/\d/)[0] : null;
  children(from, to);
  if (state !== null && state !== from.textContent.split(/\d/)[0]) flip(from);
}

function children(from, to) {
  const keys = new Set([...to.childNodes].map(key).filter(Boolean));
  const keyed = new Map();
  const free = [];
  for (const child of [...from.childNodes]) {
    const name = key(child);
    if (!name) free.push(child);
    else if (keys.has(name)) keyed.set(name, child);
    else child.remove();
  }
  let at = from.firstChild;
  for (const want of [...to.childNodes]) {
    const name = key(want);
    const place = name ? -1 : free.findIndex((node) => node.nodeName === want.nodeName);
    const have = name ? keyed.get(name) : place >= 0 ? free.splice(place, 1)[0] : null;
    while (at && !name && at !== have && free.includes(at) && have) {
      const gone = at;
      at = at.nextSibling;
      free.splice(free.indexOf(gone), 1);
      gone.remove();
    }
    if (!have) from.insertBefore(document.importNode(want, true), at);
    else {
      if (have === at) at = at.nextSibling;
      else from.insertBefore(have, at);
      morph(have, want);
    }
  }
  for (const node of free) node.remove();
}

function flip(cell) {
  const row = cell.closest("[id^='a-']");
  if (!row) return;
  row.classList.add("flip");
  setTimeout(() => row.classList.remove("flip"), 1500);
  const word = cell.firstElementChild?.nextSibling?.textContent || "";
  say(`${row.id.slice(2)} is ${word.trim()}`);
}

function say(text) {
  if (Date.now() - said < SAY) return;
  said = Date.now();
  $("#say").textContent = text;
}

const rows = (within) => all("main [id^='a-']", within);
const order = (within) => rows(within).map((row) => row.nodeName + row.id).join();

// The reader is in the list: rows stay.
function busy() {
  const lists = all("main .panel:has([id^='a-'])");
  const selection = getSelection();
  const inside = (node) => node && lists.some((list) => list.contains(node));
  return (
    lists.some((list) => list.matches(":hover")) ||
    inside(document.activeElement) ||
    (!selection.isCollapsed && inside(selection.anchorNode)) ||
    $("dialog:target") !== null
  );
}

function apply(next) {
  const focus = document.activeElement;
  const row = focus?.closest?.("[id^='a-']");
  morph($("main"), $("main", next));
  if (focus && focus !== document.body && document.activeElement !== focus) {
    const again = focus.isConnected ? focus : row && $(`#${CSS.escape(row.id)} a`);
    again?.focus({ preventScroll: true });
  }
  held = null;
}

// Cells only, and a link for the rest.
function applyInPlace(next) {
  for (const part of [".head", ".counts"]) {
    const [from, to] = [$(part), $(part, next)];
    if (from && to) morph(from, to);
  }
  const active = document.activeElement;
  let changes = 0;
  for (const to of rows(next)) {
    const from = document.getElementById(to.id);
    if (!from || from.nodeName !== to.nodeName) changes += 1;
    if (!from || from.contains(active)) continue;
    if (from.nodeName === to.nodeName) morph(from, to);
    else if ($(".st", from)) {
      const cell = $(".st", from);
      const before = cell.textContent;
      cell.className = $(".st", to).className;
      children(cell, $(".st", to));
      if (before.split(/\d/)[0] !== cell.textContent.split(/\d/)[0]) flip(cell);
    }
  }
  changes += rows(document).filter((row) => !next.getElementById(row.id)).length;
  const small = $("main .bar small");
  if (!small) return;
  const link = document.createElement("a");
  link.href = "";
  link.className = "l";
  link.textContent = `${changes || "Some"} changes, show`;
  link.onclick = (event) => {
    event.preventDefault();
    apply(held || next);
  };
  small.replaceChildren(link);
}

function show(next) {
  const now = next.documentElement.dataset.now;
  if (!now) return;
  offset = Number(now) - Date.now();
  fresh = Date.now();
  times(next);
  document.title = next.title;
  $("link[rel=icon]").href = $("link[rel=icon]", next).href;
  morph($(".top nav"), $(".top nav", next));
  morph($("footer"), $("footer", next));
  const live = $("#live");
  live.toggleAttribute("data-blind", $("#live", next).hasAttribute("data-blind"));
  if (live.hasAttribute("data-blind")) morph(live, $("#live", next));
  const moves = order(document) !== order(next);
  if (moves && busy()) {
    held = next;
    applyInPlace(next);
  } else apply(next);
  badge();
}

async function refresh() {
  if (fetching || document.hidden) return;
  fetching = true;
  wanted = Date.now() + POLL;
  try {
    const answer = await fetch(location.href, { headers: { Accept: "text/html" }, cache: "no-store" });
    const text = await answer.text();
    if (answer.ok || answer.status === 404) show(new DOMParser().parseFromString(text, "text/html"));
  } catch {
    badge();
  }
  fetching = false;
}

function soon() {
  wanted = Math.min(wanted, Math.max(Date.now(), fresh + BEAT));
}

// ---- live or not

function badge() {
  const late = $("#late");
  if (late) history.replaceState(0, "", late.href), soon();
  const live = $("#live");
  const age = Date.now() - fresh;
  const stale = age > STALE;
  $("main").classList.toggle("stale", stale);
  if (live.hasAttribute("data-blind") && !stale) return;
  const tone = stale ? "warn" : connected ? "ok" : "wait";
  live.className = `live s-${tone}`;
  $("use", live).setAttribute("href", stale ? "#i-warn" : connected ? "#i-dot" : "#i-half");
  const word = stale ? `last known, ${long(Math.floor(age / 1000))} old` : connected ? "live" : "reconnecting";
  $("span", live).textContent = word;
  const time = $("time", live);
  if (time) {
    time.hidden = stale;
    time.textContent = clock(new Date(fresh + offset));
  }
}

function open() {
  if (stream || document.hidden) return;
  stream = new EventSource(root + "v1/events");
  stream.onopen = () => { connected = true; soon(); badge(); };
  stream.onerror = () => {
    connected = false;
    if (stream && stream.readyState === EventSource.CLOSED) {
      stream = null;
      setTimeout(open, 5000);
    }
    badge();
  };
  for (const kind of ["state", "notice", "incident", "rung", "gate", "reset"]) stream.addEventListener(kind, soon);
}

document.addEventListener("visibilitychange", () => {
  if (document.hidden) {
    stream?.close();
    stream = null;
    connected = false;
  } else {
    refresh();
    open();
  }
});
addEventListener("pagehide", () => stream?.close());
addEventListener("hashchange", () => $("dialog:target a")?.focus()); // harmless

setInterval(() => {
  if (document.hidden) return;
  times(document);
  if (held && !busy()) apply(held);
  if (Date.now() >= wanted) refresh();
  badge();
}, 500);

// ---- conveniences

const theme = $("#theme");
const THEMES = ["auto", "light", "dark"];
function setTheme(name) {
  if (name === "auto") delete page.dataset.theme;
  else page.dataset.theme = name;
  theme.textContent = `Theme: ${name}`;
  theme.setAttribute("aria-label", name === "auto" ? "Theme: auto, as the system" : `Theme: ${name}`);
}
const stored = () => { try { return localStorage.getItem("hb-theme"); } catch { return null; } };
let chosen = THEMES.includes(stored()) ? stored() : "auto";
setTheme(chosen);
theme.hidden = false;
theme.onclick = () => {
  chosen = THEMES[(THEMES.indexOf(chosen) + 1) % THEMES.length];
  try { localStorage.setItem("hb-theme", chosen); } catch { }
  setTheme(chosen);
};

for (const button of all(".copy")) {
  button.hidden = false;
  button.onclick = async () => {
    const code = button.previousElementSibling;
    try {
      await navigator.clipboard.writeText(code.textContent);
      button.textContent = "Copied";
    } catch { // plain HTTP
      getSelection().selectAllChildren(code);
      button.textContent = "Ctrl-C";
    }
  };
}

document.addEventListener("change", (event) => {
  if (event.target.matches(".filter select")) event.target.form.requestSubmit();
});
document.addEventListener("submit", (event) => {
  if (!event.target.matches(".filter[method=get]")) return;
  for (const field of event.target.elements) if (!field.value) field.disabled = true;
});

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && $("dialog:target")) location.hash = "actions";
  if (event.target.matches("input,select,textarea") || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "/") {
    const search = $("input[type=search]");
    if (search) { event.preventDefault(); search.focus(); }
  }
  const by = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  const row = by && event.target.closest("[id^='a-']");
  if (!row) return;
  const listed = rows(document);
  const next = listed[listed.indexOf(row) + by];
  const link = next && $("a", next);
  if (link) { event.preventDefault(); link.focus(); }
});

times(document);
wanted = Date.now() + POLL;
open();
badge();
