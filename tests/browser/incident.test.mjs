// The pages of a live demo incident, as a person meets them.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { join } from 'node:path';

import { focused, openBrowser, openPage, screenshots, startDemo, tabTo, violations } from './harness.mjs';

const THEMES = ['light', 'dark'];
const WIDTHS = [1440, 390];
const MAX_TRANSFER_BYTES = 120 * 1024;

describe('a live incident', { timeout: 600_000 }, () => {
  let demo;
  let browser;

  before(async () => {
    demo = await startDemo('n-plus-one');
    browser = await openBrowser();
  });

  after(async () => {
    await browser?.close();
    const end = await demo?.stop();
    assert.deepEqual(end, { code: 0, signal: null }, 'Ctrl-C stops the demo in order');
  });

  /** Every kind of page that the incident leads to. */
  const pages = async () => {
    const html = await (await fetch(demo.url)).text();
    const trace = html.match(/href="([^"]*\/traces\/[0-9a-f]+)"/);
    assert.ok(trace, 'the incident links to no trace');
    return {
      incident: demo.url,
      incidents: `${demo.origin}/incidents`,
      health: `${demo.origin}/`,
      services: `${demo.origin}/services`,
      service: `${demo.origin}/services/catalog`,
      trace: `${demo.origin}${trace[1]}`,
    };
  };

  for (const theme of THEMES) {
    for (const width of WIDTHS) {
      test(`pages in ${theme} at ${width} px: no errors, accessible, nothing cut off`, async () => {
        for (const [name, url] of Object.entries(await pages())) {
          const { context, page, faults } = await openPage(browser, url, {
            colorScheme: theme,
            viewport: { width, height: 900 },
          });
          await page.screenshot({ path: join(screenshots, `${name}-${theme}-${width}.png`), fullPage: true });
          assert.deepEqual(await violations(page), [], `${name}: axe`);
          const overflow = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
          assert.ok(overflow <= 0, `${name} scrolls sideways by ${overflow} px`);
          assert.deepEqual(faults, [], `${name}: errors`);
          await context.close();
        }
      });
    }
  }

  for (const theme of THEMES) {
    test(`a picture for the README, ${theme}`, async () => {
      const { context, page } = await openPage(browser, demo.url, {
        colorScheme: theme,
        viewport: { width: 1200, height: 1000 },
      });
      await page.screenshot({ path: join(screenshots, `incident-${theme}.png`) });
      await context.close();
    });
  }

  test('the answer names the service that was broken, and every sentence of it cites evidence', async () => {
    const { context, page } = await openPage(browser, demo.url);
    const cause = page.locator('#answer .cause');
    assert.match(await cause.first().innerText(), /catalog/);
    const citations = await page.locator('#answer a.cite').evaluateAll((links) =>
      links.map((link) => link.getAttribute('href')),
    );
    assert.ok(citations.length > 0, 'no citation in the answer');
    for (const citation of new Set(citations)) {
      assert.equal(await page.locator(`[id="${citation.split('#')[1]}"]`).count(), 1, `${citation} leads nowhere`);
    }
    await context.close();
  });

  test('keyboard only: skip, read a citation, open a fold, walk the flame graph, give feedback', async () => {
    const { context, page, faults } = await openPage(browser, demo.url);

    await page.keyboard.press('Tab');
    assert.match((await focused(page)).text, /skip to content/i);
    await page.keyboard.press('Enter');
    assert.equal(new URL(page.url()).hash, '#main');

    const citation = await tabTo(page, ({ classes }) => classes.split(' ').includes('cite'));
    assert.match(citation.text, /^E\d+/);
    const preview = page.locator('a.cite:focus .peek');
    if ((await preview.count()) > 0) assert.ok(await preview.first().isVisible(), 'no preview on focus');

    await tabTo(page, ({ tag }) => tag === 'summary');
    const fold = page.locator('details:has(> summary:focus)');
    assert.equal(await fold.getAttribute('open'), null);
    await page.keyboard.press('Enter');
    assert.notEqual(await fold.getAttribute('open'), null, 'Enter opens a fold');

    const frames = page.locator('.flame a, .flame [tabindex]');
    assert.ok((await frames.count()) > 1, 'no flame graph to walk');
    await page.locator('.flame [tabindex="0"], .flame a').first().focus();
    const first = await focused(page);
    await page.keyboard.press('ArrowDown');
    const second = await focused(page);
    assert.notDeepEqual(second, first, 'arrows move from frame to frame');
    await page.keyboard.press('ArrowUp');
    assert.deepEqual(await focused(page), first, 'and back');

    await page.locator('form.fb input[type=radio]').first().focus();
    await page.keyboard.press('Space');
    await tabTo(page, ({ tag, text }) => tag === 'button' && /save|send/i.test(text));
    await page.keyboard.press('Enter');
    await page.locator('form.fb [role=status]').waitFor({ timeout: 10_000 });

    assert.deepEqual(faults, []);
    await context.close();
  });

  test('from the overview to a service, and what was found there', async () => {
    const { context, page, faults } = await openPage(browser, `${demo.origin}/`);
    const found = page.locator('.found li').first();
    assert.match(await found.innerText(), /burns|received no request/, 'a finding is a sentence');
    await page.locator('.svc tbody th a', { hasText: 'catalog' }).first().click();
    await page.waitForURL(/\/services\/catalog/);
    assert.match(await page.getByRole('heading', { level: 1 }).innerText(), /^catalog /);

    const table = page.getByRole('table').filter({ hasText: 'Burn, 1 h' });
    const rows = await table.locator('tbody tr').allInnerTexts();
    assert.equal(rows.length, 2, 'availability and latency');
    for (const row of rows) assert.match(row, /×[\s\S]*×[\s\S]*×/, 'burn over 1 h, 6 h and 24 h');
    assert.ok((await page.locator('.ends tbody tr').count()) > 0, 'no endpoints');

    const charts = page.locator('main svg.chart');
    for (let index = 0; index < (await charts.count()); index += 1) {
      assert.match(await charts.nth(index).getAttribute('aria-label'), /Chart from \d\d:\d\d to/);
    }
    const fold = page.locator('main details.fold').last();
    await fold.locator('summary').click();
    assert.ok((await fold.locator('tbody tr').count()) > 1, 'a chart has its data as a table');
    await page.locator('nav.seg a', { hasText: '6 h' }).click();
    await page.waitForURL(/range=6h/);
    assert.deepEqual(faults, []);
    await context.close();
  });

  test('a service with a hostile name is a name, and its page is found or politely not', async () => {
    const name = encodeURIComponent('../<img src=x onerror=alert(1)>?#');
    const response = await fetch(`${demo.origin}/services/${name}`, { headers: { accept: 'text/html' } });
    assert.equal(response.status, 404);
    assert.doesNotMatch(await response.text(), /<img/);
    const list = await openPage(browser, `${demo.origin}/services?q=cat`);
    assert.equal(await list.page.locator('.svc tbody tr').count(), 1);
    assert.deepEqual(list.faults, []);
    await list.context.close();
  });

  test('alerts carry a fingerprint, a severity and their numbers, and one incident', async () => {
    const findings = await (await fetch(`${demo.origin}/api/v1/findings`)).json();
    const { findings: alerts } = await (await fetch(`${demo.url}.json`)).json();
    assert.ok(alerts.length > 0);
    for (const alert of [...findings, ...alerts]) {
      assert.match(alert.fingerprint, /^[0-9a-f]{16}$/);
      assert.match(alert.severity, /^(notice|warning|critical)$/);
      if (alert.kind === 'objective') assert.ok(alert.burn_short > 1 && alert.burn_at_least <= alert.burn_short * 60);
    }
    const incidents = await (await fetch(`${demo.origin}/api/v1/incidents`)).json();
    assert.equal(incidents.filter(({ status }) => status !== 'resolved').length, 1, 'one incident per cause');
    const past = await (await fetch(`${demo.origin}/api/v1/findings?at=2020-01-01T00:00:00Z`)).json();
    assert.deepEqual(past, [], 'nothing was known then');
  });

  test('readable and usable without scripts', async () => {
    const { context, page, faults } = await openPage(browser, demo.url, { javaScriptEnabled: false });
    assert.ok(await page.getByRole('heading', { level: 1 }).isVisible());
    assert.match(await page.locator('#answer').innerText(), /most likely cause/i);
    assert.ok((await page.locator('#evidence article').count()) > 0, 'no evidence');
    await page.screenshot({ path: join(screenshots, 'incident-no-script.png'), fullPage: true });
    assert.deepEqual(faults, []);
    await context.close();
  });

  test('a strict policy, and less than 120 KB for a first visit', async () => {
    const context = await browser.newContext({ viewport: { width: 1440, height: 900 } });
    const page = await context.newPage();
    const session = await context.newCDPSession(page);
    await session.send('Network.enable');
    const sizes = new Map();
    session.on('Network.responseReceived', ({ requestId, response }) => {
      sizes.set(requestId, { url: response.url, bytes: response.encodedDataLength });
    });
    session.on('Network.dataReceived', ({ requestId, encodedDataLength }) => {
      const entry = sizes.get(requestId);
      if (entry) entry.bytes += encodedDataLength;
    });
    const response = await page.goto(demo.url, { waitUntil: 'load' });
    await page.waitForTimeout(500);
    const policy = response.headers()['content-security-policy'] ?? '';
    assert.match(policy, /default-src 'none'/);
    assert.doesNotMatch(policy, /unsafe/);
    const total = [...sizes.values()].reduce((sum, { bytes }) => sum + bytes, 0);
    const list = [...sizes.values()].map(({ url, bytes }) => `${bytes} ${url}`).join('\n');
    assert.ok(total > 0 && total < MAX_TRANSFER_BYTES, `${total} bytes:\n${list}`);
    await context.close();
  });

  test('the same incident as JSON and as Markdown', async () => {
    const json = await fetch(`${demo.url}.json`);
    assert.equal(json.status, 200);
    assert.match(JSON.stringify(await json.json()), /catalog/);
    const markdown = await fetch(`${demo.url}.md`);
    assert.equal(markdown.status, 200);
    assert.match(await markdown.text(), /^# /m);
  });
});
