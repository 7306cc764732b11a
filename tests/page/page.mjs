// The page in a real browser, against a search that goes on and runs that have ended: what it shows is what run.sqlite says.
//
//     node tests/page/page.mjs ESPALIER [SCREENSHOTS]      (make test-page; needs web/node_modules and Chromium)
import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";

const require = createRequire(new URL("../../web/package.json", import.meta.url));
const { chromium } = require("playwright-core");
const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");

const espalier = resolve(process.argv[2]);
const pictures = resolve(process.argv[3] ?? join(tmpdir(), "espalier-page"));
const work = mkdtempSync(join(tmpdir(), "page-"));
const runs = join(work, "runs");
const children = [];
mkdirSync(pictures, { recursive: true });

const search = (name, ...more) =>
  ["search", "--space", "nb201", "--set", "channels=4", "--set", "cells=1", "--data", "fashion-mnist", "--limit-images", "120", "--batch", "16", "--quiet", "--threads", "1", "--out", join(runs, name), ...more];

function start(...args) {
  const child = spawn(espalier, args, { stdio: ["ignore", "pipe", "inherit"] });
  children.push(child);
  return child;
}

async function serve(...more) {
  const port = 20000 + Math.floor(Math.random() * 10000); // below the ports that clients get
  const child = start("ui", runs, "--port", String(port), ...more);
  const line = await new Promise((done) => child.stdout.once("data", (text) => done(String(text))));
  return { child, url: /http:\S+:\d+/.exec(line)[0] };
}

// What the database says, by Python's own reader.
function rows(name, sql) {
  const script = "import json,sqlite3,sys\nprint(json.dumps([list(r) for r in sqlite3.connect('file:'+sys.argv[1]+'?mode=ro',uri=True).execute(sys.argv[2])]))";
  return JSON.parse(execFileSync("python3", ["-c", script, join(runs, name, "run.sqlite"), sql], { encoding: "utf8" }));
}

async function until(what, test, limit = 30000) {
  const end = Date.now() + limit;
  for (;;) {
    const value = await test();
    if (value) return value;
    assert(Date.now() < end, `${what}: did not happen within ${limit / 1000} s`);
    await new Promise((done) => setTimeout(done, 100));
  }
}

const complaints = [];
async function open(browser, url, options = {}) {
  const page = await browser.newPage({ viewport: { width: 1280, height: 900 }, ...options });
  page.on("console", (m) => ["error", "warning"].includes(m.type()) && complaints.push(m.text()));
  page.on("pageerror", (e) => complaints.push(e.message));
  page.on("request", (r) => {
    if (!/^(data|blob):/.test(r.url()) && new URL(r.url()).host !== new URL(url).host) complaints.push(`a request to ${r.url()}`);
  });
  return page;
}

async function accessible(page, what) {
  await page.evaluate(axe);
  const found = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
  const serious = found.violations.filter((v) => ["serious", "critical"].includes(v.impact));
  assert.deepEqual(serious.map((v) => `${v.id}: ${v.nodes.map((n) => n.target).join(" ")}`), [], `axe-core on ${what}`);
}

const percent = (x) => `${(100 * x).toFixed(2)}\u2009%`;
const idOf = async (url, name) => (await (await fetch(`${url}/api/runs`)).json()).runs.find((r) => r.name === name).id;

async function listShowsTheDatabase(page, url) {
  await page.goto(url);
  await page.waitForSelector("table.runs tbody tr");
  const cells = await page.$$eval("table.runs tbody tr", (list) => list.map((tr) => Object.fromEntries([...tr.querySelectorAll("td[data-title]")].map((td) => [td.dataset.title, td.innerText.trim()]))));
  for (const name of ["first", "second", "third"]) {
    const cell = cells.find((c) => c.Name === name);
    const [[strategy, space, data, best]] = rows(name, "SELECT strategy, space, data, best_score FROM run");
    assert.deepEqual([cell.Strategy, cell.Space, cell.Data, cell.Best], [strategy, space, data, percent(best)]);
    assert.match(cell.Status, /finished/);
  }
  await page.fill("#filter", "strategy:random");
  await until("filter", async () => (await page.$$("table.runs tbody tr")).length === 1);
  await page.fill("#filter", "");
  await page.screenshot({ path: join(pictures, "runs.png") });
  await accessible(page, "the list");
}

// Width, opacity and colour follow from the recorded probabilities by the rules of the page; places do not move.
async function sliderReplays(page, url, name) {
  await page.goto(`${url}/#/run/${await idOf(url, name)}/graph`);
  await page.waitForSelector("#graph canvas");
  const epochs = rows(name, "SELECT DISTINCT epoch FROM probability ORDER BY epoch").map((r) => r[0]);
  const read = () =>
    page.evaluate(() => {
      const cy = document.getElementById("graph")._cyreg.cy;
      return { edges: cy.edges().map((e) => e.data()), places: cy.nodes().map((n) => n.position()) };
    });
  let places = null;
  for (const i of [0, Math.floor(epochs.length / 2), epochs.length - 1]) {
    await page.$eval("#epoch", (e, v) => ((e.value = v), e.dispatchEvent(new Event("input", { bubbles: true }))), String(i));
    await page.waitForTimeout(200);
    const p = new Map(rows(name, `SELECT mutable_id, hex(p) FROM probability WHERE epoch=${epochs[i]}`).map(([id, hex]) => [id, [...Buffer.from(hex, "hex").entries()].length / 4 ? Array.from({ length: hex.length / 8 }, (_, k) => Buffer.from(hex, "hex").readFloatLE(4 * k)) : []]));
    const now = await read();
    assert(now.edges.length > 0);
    for (const edge of now.edges.filter((e) => p.has(e.mutable))) {
      const q = p.get(edge.mutable);
      const single = edge.candidate >= 0;
      const top = single ? q[edge.candidate] : Math.max(...q);
      const entropy = -q.reduce((sum, v) => sum + (v > 0 ? v * Math.log(v) : 0), 0) / Math.log(q.length);
      assert(Math.abs(edge.width - (1 + 9 * top)) < 1e-3, `width of ${edge.id} in epoch ${epochs[i]}`);
      assert(Math.abs(edge.opacity - (single ? 0.15 + 0.85 * top : 0.25 + 0.75 * (1 - entropy))) < 1e-3, `opacity of ${edge.id}`);
    }
    const table = await page.$$eval(".choices tr[data-mutable]", (list) => list.map((tr) => [Number(tr.dataset.mutable), Number(tr.querySelector("[data-p]").dataset.p)]));
    assert.equal(table.length, p.size);
    for (const [id, top] of table) assert(Math.abs(top - Math.max(...p.get(id))) < 1e-6);
    if (places) assert.deepEqual(now.places, places, "the slider moves nothing");
    places = now.places;
  }
  await page.screenshot({ path: join(pictures, "graph.png"), fullPage: true });
  await accessible(page, "the supernet");
}

async function liveGrows(page, url) {
  await page.goto(`${url}/#/run/${await idOf(url, "live")}`);
  await page.waitForSelector(".head h1");
  const shown = async () => Number(/epoch (\d+)/.exec(await page.innerText(".progress"))[1]);
  const before = await shown();
  const next = await until("an epoch in the database", () => {
    const epoch = rows("live", "SELECT ifnull(max(epoch),0) FROM epoch")[0][0];
    return epoch > before + 1 ? epoch : 0;
  }, 120000);
  await until("the new epoch on the page", async () => (await shown()) >= next, 2000);
  await page.screenshot({ path: join(pictures, "live.png"), fullPage: true });
}

async function comparesThree(page, url) {
  await page.goto(url);
  await page.waitForSelector("table.runs tbody tr");
  for (const name of ["first", "second", "third"]) await page.check(`input[aria-label="compare ${name}"]`);
  await page.click("a.button");
  await page.waitForSelector("table.comparison");
  const text = await page.innerText("main");
  for (const name of ["first", "second", "third"]) assert(text.includes(percent(rows(name, "SELECT best_score FROM run")[0][0])));
  assert(/\bstrategy\b/.test(text), "the strategies differ");
  assert(!/\bset\.space\.channels\b/.test(text), "what is the same is not shown");
  await page.screenshot({ path: join(pictures, "compare.png"), fullPage: true });
  await accessible(page, "the comparison");
}

async function architecturesAreAll(page, url, name) {
  await page.goto(`${url}/#/run/${await idOf(url, name)}/arch`);
  await page.waitForSelector("canvas.cloud");
  const [[n]] = rows(name, "SELECT count(*) FROM evaluation WHERE architecture_id NOT NULL AND metric_id=(SELECT primary_metric FROM run)");
  assert((await page.innerText("main")).includes(`${n} of ${n} shown`));
  await page.click("tbody button.plain");
  await page.waitForSelector("pre.json");
  const choices = JSON.parse(await page.innerText("pre.json"));
  assert.equal(Object.keys(choices).length, rows(name, "SELECT count(*) FROM mutable")[0][0]);
  await page.screenshot({ path: join(pictures, "architectures.png"), fullPage: true });
  await accessible(page, "the architectures");
}

async function serverComesBack(browser, url, server) {
  const page = await open(browser, url);
  await page.goto(`${url}/#/run/${await idOf(url, "first")}`);
  await page.waitForSelector(".head h1");
  const expected = complaints.length;
  server.child.kill("SIGKILL");
  await page.waitForSelector(".banner", { timeout: 10000 });
  assert((await page.innerText(".head h1")) === "first", "what was shown stays");
  const again = start("ui", runs, "--port", new URL(url).port);
  await until("the banner to go", async () => !(await page.$(".banner")), 90000);
  complaints.length = expected; // the browser itself reports the refused connections
  await page.close();
  return again;
}

// A report shows the same as the server does, from a file of any name, and asks nobody for anything.
async function reportIsTheSame(browser, url) {
  const made = join(work, "made.html");
  execFileSync(espalier, ["report", ...["first", "second", "third"].map((name) => join(runs, name)), "--html", made, "--md", join(work, "made.md")], { stdio: ["ignore", "pipe", "inherit"] });
  const file = join(work, "a #copy of it.html");
  copyFileSync(made, file);
  const page = await browser.newPage({ viewport: { width: 1280, height: 900 }, offline: true });
  const served = await open(browser, url);
  const asked = [];
  page.on("request", (r) => /^data:/.test(r.url()) || asked.push(r.url()));
  page.on("console", (m) => ["error", "warning"].includes(m.type()) && complaints.push(`report: ${m.text()}`));
  page.on("pageerror", (e) => complaints.push(`report: ${e.message}`));
  const address = pathToFileURL(file).href;
  await page.goto(address);
  await page.waitForSelector("table.runs tbody tr");
  assert.match(await page.innerText("header"), /Report of /);
  const idIn = async (name) => (await page.getAttribute(`table.runs a[title="${join(runs, name)}"]`, "href")).split("/").at(-1);
  const ids = Object.fromEntries(await Promise.all(["first", "second", "third"].map(async (name) => [name, await idIn(name)])));
  const both = async (tab, selector) => {
    for (const [p, base, id] of [[page, address, ids.first], [served, url, await idOf(url, "first")]]) {
      await p.goto(`${base}#/run/${id}${tab}`);
      await p.waitForSelector(selector);
      await p.waitForTimeout(500);
    }
    return [page, served];
  };
  for (const [tab, selector] of [["", ".charts"], ["/graph?e=2", "#graph"], ["/graph?e=3", ".choices"], ["/arch", "canvas.cloud"]]) {
    const [a, b] = await Promise.all((await both(tab, selector)).map(async (p) => (await p.$(selector)).screenshot()));
    assert(a.length > 1000 && a.equals(b), `${selector} of the report is not the server's`);
  }
  const edges = () => document.getElementById("graph")._cyreg.cy.edges().map((e) => [e.data("width"), e.data("opacity"), e.data("colour")]);
  const [a, b] = await Promise.all((await both("/graph?e=1", "#graph canvas")).map((p) => p.evaluate(edges)));
  assert(a.length > 0);
  assert.deepEqual(a, b, "edges of the report");
  await page.goto(`${address}#/compare?r=${ids.third},${ids.first}`);
  await page.waitForSelector("table.comparison");
  const text = await page.innerText("main");
  for (const name of ["first", "third"]) assert(text.includes(percent(rows(name, "SELECT best_score FROM run")[0][0])));
  assert(!text.includes("second"), "only what was picked");
  await page.uncheck("label:has-text('only differences') input");
  await page.waitForSelector("th:text-is('set.space.channels')");
  assert(!(await page.innerText("main")).includes('{"'), "the configuration is flat");
  await page.screenshot({ path: join(pictures, "report.png"), fullPage: true });
  await accessible(page, "the report");
  assert.deepEqual(asked.filter((u) => !u.startsWith(address)), [], "requests of a report");
  await page.close();
  await served.close();
}

async function phone(browser, url) {
  const page = await open(browser, url, { viewport: { width: 320, height: 640 }, colorScheme: "dark" });
  for (const [route, name] of [["", "phone-runs"], [`#/run/${await idOf(url, "first")}`, "phone-run"]]) {
    await page.goto(`${url}/${route}`);
    await page.waitForSelector(route ? ".head h1" : "table.runs");
    await page.waitForTimeout(500);
    const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
    assert(wide <= 0, `${name} scrolls sideways by ${wide} px`);
    await page.screenshot({ path: join(pictures, `${name}.png`), fullPage: true });
    await accessible(page, name);
  }
  await page.close();
}

async function main() {
  for (const [name, strategy, ...more] of [["first", "darts"], ["second", "gdas"], ["third", "random", "--set", "evaluate=shared", "--set", "trials=6"]]) {
    execFileSync(espalier, search(name, "--strategy", strategy, "--epochs", "3", ...more), { stdio: "inherit" });
  }
  start(...search("live", "--strategy", "gdas", "--epochs", "500"));
  const server = await serve();
  const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox", "--no-proxy-server"] });
  const { url } = server;
  await until("all runs", async () => (await (await fetch(`${url}/api/runs`)).json()).total === 4);
  const page = await open(browser, url);
  const steps = [
    ["list", () => listShowsTheDatabase(page, url)],
    ["live", () => liveGrows(page, url)],
    ["slider", () => sliderReplays(page, url, "first")],
    ["compare", () => comparesThree(page, url)],
    ["architectures", () => architecturesAreAll(page, url, "third")],
    ["report", () => reportIsTheSame(browser, url)],
    ["phone", () => phone(browser, url)],
    ["restart", () => serverComesBack(browser, url, server)],
  ];
  for (const [name, step] of steps) {
    await step();
    console.log(`ok ${name}`);
  }
  assert.deepEqual(complaints, [], "messages in the browser's console");
  await browser.close();
}

try {
  await main();
} finally {
  for (const child of children) child.kill("SIGKILL");
  rmSync(work, { recursive: true, force: true });
}
