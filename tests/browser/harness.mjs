// The live demo and the browser that the tests drive.
//
// Node's own runner, Playwright's core and axe: no test framework, no browser of its own.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

// The modules live in a cache outside the clone, where a plain import does not look.
const require = createRequire(join(needed('INQUEST_NODE_MODULES'), 'resolver.js'));
const { chromium } = require('playwright-core');
const AXE = readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8');

const ANSWER_TIMEOUT_MS = 240_000;
const STOP_TIMEOUT_MS = 30_000;
/** How long the shop runs well: long enough for a baseline, shorter than the demo's own. */
const QUIET_TIME = '45s';

/** Rules of WCAG 2.2 AA and all that it includes. */
const WCAG_TAGS = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22a', 'wcag22aa'];

/** Where screenshots go. */
export const screenshots = needed('INQUEST_SCREENSHOTS');
mkdirSync(screenshots, { recursive: true });

function needed(name) {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set; use \`cargo xtask browser\``);
  return value;
}

/** Starts the demo, waits for the incident that it links to and for its answer, and leaves it running. */
export async function startDemo(fault) {
  const data = mkdtempSync(join(tmpdir(), 'inquest-browser-'));
  const child = spawn(needed('INQUEST_BIN'), ['demo', '--fault', fault, '--after', QUIET_TIME, '--data', data], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  const ended = once(child, 'exit');
  const incident = new Promise((resolve, reject) => {
    const read = (chunk) => {
      output += chunk;
      const link = output.match(/http:\/\/\S+\/incidents\/[\w-]+/);
      if (link) resolve(link[0]);
    };
    child.stdout.on('data', read);
    child.stderr.on('data', read);
    ended.then(([code]) => reject(new Error(`the demo ended with ${code}:\n${output}`)), reject);
    setTimeout(() => reject(new Error(`no answer within ${ANSWER_TIMEOUT_MS / 1000} s:\n${output}`)), ANSWER_TIMEOUT_MS)
      .unref();
  });
  const stop = async () => {
    child.kill('SIGINT');
    const late = setTimeout(() => child.kill('SIGKILL'), STOP_TIMEOUT_MS);
    const [code, signal] = await ended;
    clearTimeout(late);
    rmSync(data, { recursive: true, force: true });
    return { code, signal };
  };
  try {
    const url = await incident;
    await answered(url);
    return { url, origin: new URL(url).origin, output: () => output, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** Starts the program on an empty folder and free ports, without any telemetry. */
export async function startServer() {
  const data = mkdtempSync(join(tmpdir(), 'inquest-browser-'));
  const free = ['--listen', '--grpc', '--http'].flatMap((flag) => [flag, '127.0.0.1:0']);
  const child = spawn(needed('INQUEST_BIN'), ['serve', '--data', data, ...free], { stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  const ended = once(child, 'exit');
  const origin = await new Promise((resolve, reject) => {
    const read = (chunk) => {
      output += chunk;
      const link = output.match(/http:\/\/[\d.]+:\d+/);
      if (link) resolve(link[0]);
    };
    child.stdout.on('data', read);
    child.stderr.on('data', read);
    ended.then(([code]) => reject(new Error(`the program ended with ${code}:\n${output}`)), reject);
  });
  const stop = async () => {
    child.kill('SIGINT');
    await ended;
    rmSync(data, { recursive: true, force: true });
  };
  return { origin, stop };
}

/** Waits until the incident has a report that names a cause; it is looked into again while it grows. */
async function answered(url) {
  const deadline = Date.now() + ANSWER_TIMEOUT_MS;
  while (Date.now() < deadline) {
    const { report } = await (await fetch(`${url}.json`)).json();
    if (report && report.verdict !== 'inconclusive') return;
    await new Promise((resolve) => setTimeout(resolve, 500));
  }
  throw new Error('the incident has no cause');
}

/** A headless Chromium that asks nothing of the outside. */
export function openBrowser() {
  return chromium.launch({
    executablePath: needed('INQUEST_CHROMIUM'),
    args: [
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
    ],
  });
}

/** A page of its own, with everything that went wrong on it in `faults`. */
export async function openPage(browser, url, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1440, height: 900 }, ...options });
  const page = await context.newPage();
  const faults = [];
  page.on('console', (message) => {
    if (message.type() === 'error') faults.push(`console: ${message.text()}`);
  });
  page.on('pageerror', (error) => faults.push(`script: ${error.message}`));
  page.on('response', (response) => {
    if (response.status() >= 400) faults.push(`${response.status()} ${response.url()}`);
  });
  page.on('request', (request) => {
    if (new URL(request.url()).origin !== new URL(url).origin) faults.push(`asked ${request.url()}`);
  });
  await page.goto(url, { waitUntil: 'load' });
  return { context, page, faults };
}

/** What axe holds against the page, one line for each element. The page of a live incident comes anew when there is news: axe begins again. */
export async function violations(page, turns = 3) {
  try {
    await page.evaluate(AXE);
    const result = await page.evaluate(
      (tags) => window.axe.run(document, { runOnly: { type: 'tag', values: tags } }),
      WCAG_TAGS,
    );
    return result.violations.flatMap((violation) =>
      violation.nodes.map((node) => `${violation.id}: ${node.target.join(' ')}: ${node.failureSummary}`),
    );
  } catch (error) {
    if (turns <= 1 || !error.message.includes('because of a navigation')) throw error;
    await page.waitForLoadState('load');
    return violations(page, turns - 1);
  }
}

/** What has the focus: tag, classes, accessible text. */
export function focused(page) {
  return page.evaluate(() => {
    const element = document.activeElement;
    return {
      tag: element.tagName.toLowerCase(),
      classes: element.getAttribute('class') ?? '',
      text: (element.getAttribute('aria-label') ?? element.textContent ?? '').trim().slice(0, 200),
      visible: element.checkVisibility?.() ?? true,
    };
  });
}

/** Presses Tab until `wanted` says yes to what has the focus; at most `limit` times. */
export async function tabTo(page, wanted, limit = 400) {
  for (let presses = 0; presses < limit; presses += 1) {
    await page.keyboard.press('Tab');
    const now = await focused(page);
    if (wanted(now)) return now;
  }
  throw new Error(`not reached with ${limit} presses of Tab`);
}
