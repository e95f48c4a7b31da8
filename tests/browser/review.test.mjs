// The review queue: decisions with the mouse, with keys, and without any script.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { join } from 'node:path';

import { openBrowser, openPage, screenshots, startServer, violations } from './harness.mjs';

/** A week of alerts of several kinds, as Alertmanager would have sent them. */
async function sendAlerts(origin) {
  const kinds = [
    ['cart', 'RedisReset', 'redis: connection reset by peer, retrying in 17 ms', 2],
    ['web', 'RedisReset', 'redis: connection reset by peer, retrying in 21 ms', 5],
    ['web', 'ClientClosed', 'client closed request before response, path /a/1', 3],
    ['mail', 'Greylisted', 'smtp 10.0.0.1 greylisted, will try again after 300 s', 7],
    ['db', 'DiskFull', 'panic: no space left on device', 24],
  ];
  const now = Date.now();
  for (let hour = 7 * 24; hour > 0; hour -= 1) {
    const alerts = [];
    for (const [service, alertname, summary, every] of kinds) {
      const burst = service === 'cart' && hour === 60 ? 30 : 1;
      for (let n = 0; hour % every === 0 && n < burst; n += 1) {
        alerts.push({
          status: 'firing',
          labels: { alertname, service, severity: 'warning', pod: `${service}-1` },
          annotations: { summary },
          startsAt: new Date(now - hour * 3_600_000 + n * 1000).toISOString(),
          endsAt: '0001-01-01T00:00:00Z',
        });
      }
    }
    if (alerts.length === 0) continue;
    const answer = await fetch(`${origin}/api/v1/alerts/alertmanager`, {
      method: 'POST',
      body: JSON.stringify({ version: '4', status: 'firing', receiver: 'inquest', alerts }),
    });
    assert.equal(answer.status, 200, await answer.text());
  }
}

describe('the review queue', { timeout: 300_000 }, () => {
  let server;
  let browser;

  before(async () => {
    server = await startServer();
    await sendAlerts(server.origin);
    browser = await openBrowser();
  });

  after(async () => {
    await browser?.close();
    await server?.stop();
  });

  const rows = (page) => page.locator('article.q');

  for (const theme of ['light', 'dark']) {
    for (const width of [1440, 390]) {
      test(`in ${theme} at ${width} px: no errors, accessible, nothing cut off`, async () => {
        const list = await (await fetch(`${server.origin}/api/v1/alerts`)).json();
        const cart = list.find((alert) => alert.service === 'cart');
        const pages = {
          review: `/review?open=${cart.fingerprint}`,
          rules: '/review/rules',
          policies: '/review/policies',
          audit: '/review/audit',
          settings: '/settings',
        };
        for (const [name, path] of Object.entries(pages)) {
          const { context, page, faults } = await openPage(browser, `${server.origin}${path}`, {
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

  test('is in the order of pages saved times confidence', async () => {
    const list = await (await fetch(`${server.origin}/api/v1/alerts`)).json();
    const worth = new Map(list.map((one) => [`q-${one.fingerprint}`, (one.pages - one.pages_left) * one.confidence]));
    const { context, page } = await openPage(browser, `${server.origin}/review`);
    const shown = await rows(page).evaluateAll((all) => all.map((row) => row.id));
    assert.equal(shown.length, worth.size);
    const worths = shown.map((id) => worth.get(id));
    assert.deepEqual(worths, worths.toSorted((a, b) => b - a));
    assert.ok(worths[0] > worths.at(-1), `all are worth the same: ${worths}`);
    // Pages alone, or confidence alone, would give another order or the same by chance: the figures are what is shown.
    const pages = await rows(page).locator('[data-l^="Pages"]').allTextContents();
    assert.deepEqual(pages.map(Number), shown.map((id) => {
      const one = list.find((other) => `q-${other.fingerprint}` === id);
      return one.pages - one.pages_left;
    }));
    await context.close();
  });

  for (const [key, action, said, state] of [
    ['a', 'approve', 'is noise until', 'Approved'],
    ['r', 'reject', 'stays heard', 'Rejected'],
    ['s', 'snooze', 'snoozed for a day', 'Snoozed'],
  ]) {
    test(`the key ${key} decides on the selected alert, and u takes it back`, async () => {
      const { context, page, faults } = await openPage(browser, `${server.origin}/review`);
      const selected = page.locator('.q.sel');
      const title = await selected.locator('.ttl').textContent();
      const id = await selected.getAttribute('id');
      await page.keyboard.press(key);
      await page.waitForURL(new RegExp(`what=${action}`));
      await page.getByRole('status').getByText(said).waitFor();
      await page.locator(`#${id}`).getByText(state, { exact: true }).waitFor();
      assert.notEqual(await page.locator('.q.sel').getAttribute('id'), id, 'the next one is selected');
      await page.keyboard.press('u');
      await page.waitForURL(/what=undo/);
      assert.equal(await page.locator(`#${id}`).getByRole('button', { name: 'Approve' }).count(), 1);
      assert.equal(await page.locator('.q.sel .ttl').textContent(), title);
      assert.deepEqual(faults, []);
      await context.close();
    });
  }

  test('the key o opens and closes, and an open row is decided as it is set', async () => {
    const { context, page, faults } = await openPage(browser, `${server.origin}/review`);
    const row = rows(page).filter({ hasText: 'RedisReset' }).first();
    await row.locator('.ttl a').focus();
    await page.keyboard.press('o');
    await page.waitForURL(/open=/);
    await page.getByRole('heading', { name: 'Why' }).waitFor();
    await page.keyboard.press('o');
    await page.waitForURL((url) => !url.search.includes('open='));
    await row.locator('.ttl a').focus();
    await page.keyboard.press('o');
    await page.waitForURL(/open=/);
    await page.getByLabel('Note').fill('as agreed');
    await page.getByRole('checkbox').check();
    await page.keyboard.press('r');
    await page.waitForURL(/what=reject/);
    await page.getByRole('status').getByText('and 1 of the same pattern: stays heard').waitFor();
    assert.equal(await rows(page).filter({ hasText: 'RedisReset' }).filter({ hasText: 'Rejected' }).count(), 2);
    await page.getByRole('link', { name: 'Audit' }).click();
    assert.equal(await page.getByText('as agreed').count(), 2);
    assert.equal(await page.getByText('undecided → heard').count(), 3, 'these two, and the one that the key r decided on');
    await page.goBack();
    await page.keyboard.press('u');
    await page.waitForURL(/what=undo/);
    assert.equal(await rows(page).filter({ hasText: 'RedisReset' }).filter({ hasText: 'Rejected' }).count(), 0);
    assert.deepEqual(faults, []);
    await context.close();
  });

  test('sets the mode of one rule, and not to auto before that is earned', async () => {
    const { context, page, faults } = await openPage(browser, `${server.origin}/review/rules`, { javaScriptEnabled: false });
    const modes = page.getByRole('group', { name: 'Mode of Greylisted' });
    assert.equal(await modes.getByRole('button', { name: 'auto' }).isDisabled(), true);
    await page.getByText(/Auto is locked for every rule: it needs \d+ more decisions/).waitFor();
    await modes.getByRole('button', { name: 'recommend' }).click();
    await page.getByRole('status').getByText('Greylisted is now in mode recommend.').waitFor();
    assert.equal(await modes.getByRole('button', { name: 'recommend' }).getAttribute('aria-pressed'), 'true');
    const others = page.getByRole('group', { name: 'Mode of RedisReset' });
    assert.equal(await others.getByRole('button', { name: 'observe' }).getAttribute('aria-pressed'), 'true');
    // The page only says so: it is the server that refuses.
    const forced = await fetch(`${server.origin}/review/mode`, {
      method: 'POST',
      body: new URLSearchParams({ rule: 'Greylisted', mode: 'auto' }),
    });
    assert.equal(forced.status, 400);
    await page.getByRole('link', { name: 'Audit' }).click();
    await page.getByText('Mode recommend, was observe').waitFor();
    await page.goto(`${server.origin}/review/rules`);
    await modes.getByRole('button', { name: 'observe' }).click();
    assert.deepEqual(faults, []);
    await context.close();
  });

  test('decides on one pattern at once, without any script', async () => {
    const { context, page, faults } = await openPage(browser, `${server.origin}/review`, { javaScriptEnabled: false });
    await page.getByRole('link', { name: 'cart: RedisReset' }).click();
    await page.getByRole('checkbox').check();
    await page.getByRole('combobox', { name: 'Reason' }).selectOption('expected_retry');
    await page.getByRole('button', { name: 'Approve as set' }).click();
    assert.equal(await rows(page).filter({ hasText: 'RedisReset' }).filter({ hasText: 'Approved' }).count(), 2);
    // Nothing decides about what is never suppressed.
    assert.equal(await rows(page).filter({ hasText: 'DiskFull' }).getByRole('button', { name: 'Approve' }).count(), 0);
    await page.getByRole('link', { name: 'Audit' }).click();
    // These two, and the one that the keys decided on and took back.
    assert.equal(await page.getByText('Approved: Expected retry').count(), 3);
    assert.deepEqual(faults, []);
    await context.close();
  });
});
