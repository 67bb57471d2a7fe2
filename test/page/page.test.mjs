// Every view, as people use it. node --test runs it; page_test.go starts what
// is behind it and says where it is.
import { test, before, after } from 'node:test';
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { launch, visit, eventually, base } from './browser.mjs';

const axeSource = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const control = process.env.WEIR_CONTROL; // stops and starts NATS
let browser;
before(async () => { browser = await launch(); });
after(() => browser.close());

const texts = (page, selector) => page.locator(selector).allInnerTexts();
const state = (page) => Object.fromEntries(new URL(page.url()).searchParams);

async function clean(page) {
  assert.deepEqual(page.wrong, []);
  assert.equal(await page.evaluate(() => window.hacked), undefined, 'a name ran as a script');
  await page.context().close();
}

/** One row's cells by the heads of their columns. */
async function cells(page, name) {
  return page.evaluate((wanted) => {
    const table = document.querySelector('table.services');
    const heads = [...table.tHead.rows[0].cells].map((c) => c.innerText.trim().replace(/[↓↑]/, ''));
    const row = [...table.tBodies[0].rows].find((r) => r.cells[0].innerText.trim() === wanted);
    return row && Object.fromEntries([...row.cells].map((c, i) => [heads[i] || i, c.innerText.trim()]));
  }, name);
}

test('services: rows, numbers, sorting, filtering', async () => {
  const page = await visit(browser, '?view=services&last=5m');
  await page.locator('table.services .lead', { hasText: 'payment' }).waitFor();
  const names = await texts(page, 'table.services .lead');
  assert.ok(names.length >= 7 && names.includes('stock'), names.join());
  const row = await cells(page, 'payment');
  assert.match(row['Rate /s'], /^[\d.]+$/);
  assert.match(row.p50, /^[\d.]+ m?s$/);
  // What the page shows is what the gateway says.
  const said = await (await fetch(`${base}/api/services?last=5m&side=server`)).json();
  assert.ok(said.rows.find((r) => r.workload === 'payment').p99_ms > 0);

  await page.getByRole('button', { name: 'p99' }).click();
  assert.equal(state(page).sort, '-p99');
  const p99 = await page.evaluate(() => [...document.querySelectorAll('th')].find((h) => h.innerText.startsWith('p99') && h.ariaSort)?.ariaSort);
  assert.equal(p99, 'descending');
  await page.getByRole('button', { name: 'p99' }).click();
  assert.equal(state(page).sort, 'p99');

  await page.keyboard.press('/');
  await page.keyboard.type('pay');
  await eventually(async () => assert.deepEqual(await texts(page, 'table.services .lead'), ['payment']));
  assert.equal(state(page).q, 'pay');
  await page.keyboard.press('Control+A');
  await page.keyboard.type('no such thing');
  await page.getByText('No name contains').waitFor();
  await page.getByRole('button', { name: /^Show all/ }).click();
  await page.getByRole('button', { name: 'clients' }).click();
  await page.locator('table.services .lead', { hasText: 'web probe' }).waitFor();
  await clean(page);
});

test('tables show the numbers of the answers, rounded', async () => {
  const to = Math.floor(Date.now() / 60_000) * 60_000 - 60_000, time = `from=${to - 240_000}&to=${to}`;
  const unit = { ns: 1e-6, µs: 1e-3, ms: 1, s: 1e3, min: 6e4, '%': 0.01 };
  // Whether a text is a number rounded to the digits that it has.
  const shows = (text, want) => {
    const [v, of] = text.split(' '), digit = 10 ** -(v.split('.')[1] || '').length;
    return Math.abs(Number(v) - want / (unit[of] || 1)) <= digit * 0.5001;
  };
  const compare = async (view, selector, kind, rowsOf, nameOf) => {
    const said = rowsOf(await (await fetch(`${base}/api/${kind}`)).json());
    const page = await visit(browser, view);
    await eventually(async () => assert.equal(await page.locator(`${selector} tbody tr`).count(), said.length));
    const shown = await page.evaluate((s) => {
      const table = document.querySelector(s);
      const heads = [...table.tHead.rows[0].cells].map((c) => c.innerText.trim().replace(/[↓↑]/, ''));
      return [...table.tBodies[0].rows].map((r) => Object.fromEntries([...r.cells].map((c, i) => [heads[i], c.innerText.trim()])));
    }, selector);
    assert.ok(said.length >= 10);
    for (const row of said) {
      const r = shown.find((x) => nameOf(x) === nameOf(row));
      assert.ok(r, nameOf(row));
      for (const [head, want] of [['Rate /s', row.rate], ['Errors', row.errors / row.count], ['p50', row.p50_ms], ['p90', row.p90_ms], ['p99', row.p99_ms], ['max', row.max_ms]]) {
        assert.ok(shows(r[head], want), `${nameOf(row)}: ${head} shows ${r[head]}, said was ${want}`);
      }
    }
    await clean(page);
  };
  await compare(`?view=services&side=both&${time}`, 'table.services', `services?${time}`, (a) => a.rows,
    (r) => (r.Service ? `${r.Service} ${r.Side}` : `${r.workload} ${r.side}`));
  await compare(`?view=map&table=1&${time}`, 'table.data', `map?${time}`, (a) => a.edges,
    (r) => r['From → to'] || [r.from, r.to].map((w) => (w.namespace === 'host' ? w.workload : w.namespace)).join(' → '));
});

test('services: live numbers move', async () => {
  const page = await visit(browser, '?view=services&last=5m');
  await page.locator('table.services').waitFor();
  const about = () => page.locator('.about').innerText();
  const first = await about();
  await eventually(async () => assert.notEqual(await about(), first), 60_000);
  assert.match(await page.locator('.strip').innerText(), /Counted until .* ago/);
  await clean(page);
});

test('service: heatmap, tiles, tables, zoom by mouse', async () => {
  const page = await visit(browser, '?view=service&ns=host&w=payment&kind=unit&last=15m');
  const heat = page.locator('canvas.heat');
  await heat.waitFor();
  // Its pixels: colours that only counts have.
  const coloured = () => page.evaluate(() => {
    const c = document.querySelector('canvas.heat');
    const d = c.getContext('2d').getImageData(70, 0, c.width - 90, c.height - 40).data;
    const seen = new Set();
    for (let i = 0; i < d.length; i += 4) seen.add((d[i] << 16) | (d[i + 1] << 8) | d[i + 2]);
    return seen.size;
  });
  await eventually(async () => assert.ok(await coloured() > 12));
  assert.match(await page.locator('.tiles').innerText(), /p99\s+[\d.]+ ms/);
  assert.ok((await texts(page, '.operations .lead')).includes('POST /pay'));
  const captions = await texts(page, 'caption');
  for (const c of ['Operations', 'Callers', 'Calls', 'Statuses']) assert.ok(captions.includes(c), c);
  assert.equal(await page.locator('.chart canvas').count(), 2);

  const box = await heat.boundingBox();
  await page.mouse.move(box.x + box.width * 0.5, box.y + 60);
  await page.locator('.tip').first().waitFor();
  await page.mouse.down();
  await page.mouse.move(box.x + box.width * 0.8, box.y + 70, { steps: 4 });
  await page.mouse.up();
  await eventually(() => assert.ok(state(page).from && state(page).to));
  const { from, to } = state(page);
  assert.ok(to - from >= 200_000 && to - from <= 360_000, `zoomed to ${to - from} ms`);
  await page.goBack();
  await eventually(() => assert.equal(state(page).last, '15m'));
  await heat.waitFor();
  // Up and down too: only some latencies.
  await page.mouse.move(box.x + box.width * 0.4, box.y + 40);
  await page.mouse.down();
  await page.mouse.move(box.x + box.width * 0.7, box.y + 200, { steps: 4 });
  await page.mouse.up();
  await eventually(() => assert.ok(Number(state(page).hi) > Number(state(page).lo)));
  await page.getByRole('button', { name: 'All latencies' }).click();
  assert.equal(state(page).lo, undefined);
  await clean(page);
});

test('service: a cell leads to exemplars and to its events', async () => {
  const to = Math.floor(Date.now() / 60_000) * 60_000 - 120_000;
  const page = await visit(browser, `?view=service&ns=host&w=stock&kind=unit&from=${to - 120_000}&to=${to}`);
  const heat = page.locator('canvas.heat');
  await heat.waitFor();
  const said = await (await fetch(`${base}/api/service?namespace=host&workload=stock&from=${to - 120_000}&to=${to}`)).json();
  const column = said.heat.columns.findIndex((c) => c.c?.length);
  const c = said.heat.columns[column];
  const busiest = c.o + c.c.indexOf(Math.max(...c.c));
  // By the keyboard: to the column, then to the busiest bucket.
  await heat.focus();
  const told = page.locator('.drawing .hidden').first();
  for (let i = 0; i < 12 - column - 1; i++) await page.keyboard.press('ArrowLeft');
  const middle = Math.floor((said.heat.first - 1 + said.heat.first + said.heat.rows + 1) / 2);
  for (let i = middle; i !== busiest; i += Math.sign(busiest - middle)) await page.keyboard.press(busiest > middle ? 'ArrowUp' : 'ArrowDown');
  await page.keyboard.press('ArrowUp');
  await page.keyboard.press('ArrowDown');
  await eventually(async () => assert.match(await told.innerText(), new RegExp(`: ${Math.max(...c.c)} requests`)));
  await page.keyboard.press('Enter');
  await page.getByRole('link', { name: 'all its requests' }).waitFor();
  assert.ok(state(page).t);
  await page.getByRole('link', { name: 'all its requests' }).click();
  await page.locator('table.events .lead').first().waitFor();
  await eventually(async () => assert.equal(await page.locator('table.events tbody tr').count(), Math.max(...c.c)));
  await page.goBack();
  await page.locator('canvas.heat').waitFor();
  await page.keyboard.press('v');
  await page.locator('caption', { hasText: 'A row a window' }).waitFor();
  assert.equal(state(page).table, '1');
  await clean(page);
});

test('map: nodes stay in place, lead to services, and have a table', async () => {
  const page = await visit(browser, '?view=map&last=5m');
  const node = page.locator('.node', { hasText: 'payment' });
  await node.waitFor();
  const place = await node.getAttribute('transform');
  const figures = () => page.locator('.node .figures').allInnerTexts();
  const first = (await page.locator('.about').innerText());
  await figures();
  await eventually(async () => assert.notEqual(await page.locator('.about').innerText(), first), 60_000);
  assert.equal(await node.getAttribute('transform'), place);
  assert.ok(await page.locator('.edge.failing path[stroke-dasharray]').count() > 0, 'errors are told by colour alone');
  await page.locator('.node', { hasText: 'frontend' }).focus();
  await page.keyboard.press('ArrowRight');
  const reached = await page.evaluate(() => document.activeElement.textContent);
  assert.ok(/catalogue|cart|checkout/.test(reached), reached);
  await page.keyboard.press('v');
  await page.locator('caption', { hasText: 'Who calls whom' }).waitFor();
  await page.keyboard.press('v');
  await node.click();
  await eventually(() => assert.deepEqual([state(page).view, state(page).w], ['service', 'payment']));
  await clean(page);
});

test('an address narrows services, map and events', async () => {
  const page = await visit(browser, '?view=services&ns=host&w=payment&side=both&last=5m');
  await page.locator('table.services .lead').first().waitFor();
  assert.deepEqual([...new Set(await texts(page, 'table.services .lead'))], ['payment']);
  await page.goto(`${base}/?view=map&ns=host&w=payment&table=1&last=15m`);
  await page.locator('table.data .lead').first().waitFor();
  const ends = await texts(page, 'table.data .lead');
  assert.ok(ends.every((e) => e.includes('payment')), ends.join());
  await page.getByTitle('all workloads').click();
  await eventually(async () => assert.ok((await texts(page, 'table.data .lead')).length > ends.length));
  assert.equal(state(page).w, undefined);
  await clean(page);
});

test('events: live, filtered with completion, mistakes in place, detail', async () => {
  const page = await visit(browser, '?view=events');
  await page.locator('table.events .lead').first().waitFor();
  const box = page.getByRole('combobox');
  await page.keyboard.press('/');
  await page.keyboard.type('dur');
  await page.getByRole('option', { name: /duration_ms/ }).waitFor();
  await page.keyboard.press('Tab');
  assert.equal(await box.inputValue(), 'duration_ms');
  await page.keyboard.type(' >> 5');
  await page.keyboard.press('Enter');
  await page.locator('.mistake', { hasText: '^' }).waitFor();
  assert.equal(await box.getAttribute('aria-invalid'), 'true');
  assert.equal(state(page).filter, undefined);
  const column = (await page.locator('.mistake').innerText()).indexOf('^');
  assert.equal(column, 'duration_ms >'.length);
  await box.fill('status >= 500 && side == "server"');
  await page.keyboard.press('Enter');
  await eventually(async () => assert.equal(state(page).filter, 'status >= 500 && side == "server"'));
  await eventually(async () => {
    const codes = await texts(page, 'table.events tbody td:nth-child(5)');
    assert.ok(codes.length > 0 && codes.every((c) => Number(c) >= 500), codes.join());
  }, 60_000);
  await page.getByRole('button', { name: 'Hold' }).click();
  await page.locator('table.events .lead').first().click();
  await page.locator('.detail').waitFor();
  assert.match(await page.locator('.detail').innerText(), /wait [^]*processing [^]*transfer/);
  await clean(page);
});

test('events: the past', async () => {
  const to = Date.now() - 60_000;
  const page = await visit(browser, `?view=events&from=${to - 60_000}&to=${to}&filter=${encodeURIComponent('destination.workload == "payment" && side == "server"')}`);
  await page.locator('.about', { hasText: 'looked back to' }).waitFor();
  const ends = await texts(page, 'table.events tbody td:nth-child(3)');
  assert.ok(ends.length > 0 && ends.every((e) => e.endsWith('→ payment')), ends.join());
  await clean(page);
});

test('alerts: what fires, what fired, budgets', async () => {
  const page = await visit(browser, '?view=alerts');
  const seen = page.locator('table.alerts tr', { hasText: 'web probe' });
  await seen.waitFor();
  assert.match(await seen.innerText(), /Seen[^]*firing[^]*ticket[^]*web probe calls the frontend[^]*workload=web probe/);
  assert.match(await page.locator('table.alerts tr', { hasText: 'BusyForLong' }).innerText(), /pending/);
  await page.locator('.problem', { hasText: "the group's limit is 1" }).waitFor(); // a rule that fails
  // How many fire is beside the view's name, in every view.
  await eventually(async () => {
    const firing = await page.locator('table.alerts .alert-firing').count();
    assert.equal(parseInt(await page.locator('nav .fires').innerText(), 10), firing);
    assert.ok(firing >= 2);
  });
  // What is shown is what the gateway says.
  const share = (v) => (v === 0 ? '0' : v < 1e-4 ? '<0.01 %' : null);
  await eventually(async () => {
    const said = await (await fetch(`${base}/api/budgets`)).json();
    const shown = await page.locator('table.budgets tbody tr').evaluateAll((rows) => rows.map((r) => [...r.cells].map((c) => c.innerText.trim())));
    assert.deepEqual(shown.map((r) => r[0]), ['payment-latency', 'cart-errors']);
    said.rows.forEach((row, i) => {
      const [, text, now, burn, ratio, used] = shown[i];
      assert.equal(text, row.text);
      for (const [cell, v] of [[now, row.ratio_now], [ratio, row.ratio], [used, row.used]]) {
        assert.ok(cell === share(v) || Math.abs(parseFloat(cell) - 100 * v) <= 0.0051 * Math.max(1, 100 * v), `${cell} is not ${v}`);
      }
      assert.ok(burn === '<0.01×' || burn === '0×' || Math.abs(parseFloat(burn) - row.burn) <= 0.0051 * Math.max(1, row.burn), `${burn} is not ${row.burn}`);
    });
    assert.ok(said.long_s >= 900 && said.long_s <= 3600, said.long_s);
  });
  // Words narrow all of it, and the address has them.
  await page.keyboard.press('/');
  await page.keyboard.type('web probe');
  await eventually(async () => assert.equal(await page.locator('table.alerts tbody tr').count(), 1));
  assert.equal(state(page).q, 'web probe');
  assert.deepEqual([...new Set(await texts(page, 'table.changes tbody td:nth-child(3)'))], ['Seen']);
  // The drawing has a bar for each time that it fired; the key v takes it away.
  assert.ok(await page.locator('.timeline a').count() >= 1);
  await page.locator('h1').click();
  await page.keyboard.press('v');
  await eventually(async () => assert.equal(await page.locator('.timeline').count(), 0));
  await page.keyboard.press('v');
  // An alert leads to what it is about, around the time that it began.
  const since = (await (await fetch(`${base}/api/alerts`)).json()).active.find((a) => a.labels.workload === 'web probe').since;
  await page.locator('table.alerts .lead').first().click();
  await eventually(() => assert.deepEqual([state(page).view, state(page).w, Number(state(page).from), Number(state(page).to)], ['service', 'web probe', since - 18e5, since + 3e5]));
  await page.locator('nav .fires').waitFor();
  await page.goBack();
  await page.locator('.timeline a').first().press('Enter');
  await eventually(() => assert.equal(state(page).view, 'service'));
  await page.goBack();
  // A change leads to the services of that time.
  await page.locator('table.changes .lead').first().press('Enter');
  await eventually(() => assert.equal(state(page).view, 'services'));
  assert.ok(Number(state(page).from) < since && since < Number(state(page).to));
  await page.locator('table.services .lead').first().waitFor();
  await clean(page);
});

test('alerts: another time', async () => {
  const all = (await (await fetch(`${base}/api/alerts`)).json()).history;
  const seen = all.find((a) => a.labels.workload === 'web probe');
  const page = await visit(browser, `?view=alerts&from=${seen.since - 600_000}&to=${seen.since + 30_000}`);
  await page.locator('.about', { hasText: 'as of' }).waitFor();
  assert.match(await page.locator('table.alerts tr', { hasText: 'web probe' }).innerText(), /30 s/);
  assert.ok(!(await page.locator('main').innerText()).includes('BusyForLong')); // what was pending isn't known
  await page.goto(`${base}/?view=alerts&from=${seen.since - 1200_000}&to=${seen.since - 600_000}`);
  await page.getByText('Nothing fires.').waitFor();
  assert.equal(await page.locator('#silences').count(), 0); // they aren't known of the past
  await page.getByText('Nothing began to fire').waitFor();
  await clean(page);
});

test('alerts: narrow screens', async () => {
  const page = await visit(browser, '?view=alerts', { viewport: { width: 390, height: 800 } });
  await page.locator('table.alerts .lead').first().waitFor();
  await page.locator('.timeline svg').waitFor();
  assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth));
  const said = await page.locator('table.alerts td.said').first().boundingBox();
  assert.ok(said.x >= 0 && said.x + said.width <= 390 && said.width > 250, JSON.stringify(said));
  for (const cell of await page.locator('table.silences :is(td.said, .matchers span)').all()) {
    const silence = await cell.boundingBox();
    assert.ok(silence.x >= 0 && silence.x + silence.width <= 390, JSON.stringify(silence));
  }
  await clean(page);
});

test('health: ledger, lag, streams, versions', async () => {
  const page = await visit(browser, '?view=health&last=15m');
  await page.locator('.verdict').waitFor();
  assert.match(await page.locator('.verdict').innerText(), /missing from the numbers|Every request|being counted/);
  const text = await page.locator('main').innerText();
  for (const w of ['shop-1', 'ring_full', 'WEIR_LATENCY', 'Lag by partition', 'nats-server 2.']) assert.ok(text.includes(w), w);
  assert.match(await page.locator('.strip').innerText(), /lost in 15 min/);
  await clean(page);
});

test('time: spans, any interval, replay with pause and scrub', async () => {
  const page = await visit(browser, '?view=services');
  await page.locator('table.services').waitFor();
  for (const [span, millis] of [['15m', 9e5], ['24h', 864e5], ['5m', 3e5]]) {
    const answered = page.waitForResponse((r) => r.url().includes(`last=${span}`));
    await page.getByRole('button', { name: span, exact: true }).click();
    assert.equal(state(page).last, span);
    const asked = await answered;
    const said = await asked.json();
    assert.ok(said.to - said.from >= millis && said.to - said.from <= millis + 3e5);
  }
  await page.keyboard.press('[');
  await page.keyboard.press(']');
  assert.equal(state(page).last, '15m');

  await page.keyboard.press('i');
  await page.locator('.interval').waitFor();
  const [from, to] = ['from', 'to'].map((n) => page.locator(`.interval input[name=${n}]`));
  await to.fill('2020-01-01T00:00:00');
  await page.keyboard.press('Enter');
  await page.getByText('The start must be before the end').waitFor();
  const at = (ago) => { const d = new Date(Date.now() - ago); d.setMinutes(d.getMinutes() - d.getTimezoneOffset()); return d.toISOString().slice(0, 19); };
  await from.fill(at(480_000));
  await to.fill(at(120_000));
  await page.keyboard.press('Enter');
  await eventually(() => assert.ok(Math.abs(state(page).to - state(page).from - 360_000) < 1500));
  await page.locator('table.services .lead').first().waitFor();

  await page.keyboard.press('r');
  await page.locator('.replay').waitFor();
  await page.getByLabel('Speed').selectOption('5');
  const place = () => page.locator('.replay .at').innerText();
  const one = await place();
  await eventually(async () => assert.notEqual(await place(), one));
  await page.getByRole('button', { name: 'Pause' }).click();
  await eventually(() => assert.equal(state(page).paused, '1'));
  const held = await place();
  const shown = await page.locator('.about').innerText();
  const scrub = page.locator('.replay input[type=range]');
  await eventually(async () => {
    await scrub.press('Home');
    assert.notEqual(await place(), held);
  });
  await eventually(async () => {
    await scrub.press('End');
    assert.notEqual(await page.locator('.about').innerText(), shown);
  });

  // Less than half of a window behind the start the slider itself has nothing to say of Home.
  const start = Date.now() - 480_000;
  const near = await visit(browser, `?view=services&from=${start}&to=${start + 360_000}&at=${start + 2000}&paused=1`);
  await near.locator('.replay input[type=range]').press('Home');
  await eventually(() => assert.equal(Number(state(near).at), start));
  await near.context().close();

  assert.ok(Number(state(page).at) > 0);
  await page.keyboard.press('l');
  await eventually(() => assert.equal(state(page).at, undefined));
  await clean(page);
});

/** Goes to another state as a link within the page does. */
const walk = (page, path) => page.evaluate((to) => {
  history.pushState(null, '', to);
  dispatchEvent(new PopStateEvent('popstate'));
}, path);

test('the address holds everything', async () => {
  const to = Math.floor(Date.now() / 60_000) * 60_000 - 60_000;
  const page = await visit(browser, '?view=services');
  for (const path of [
    `?view=services&from=${to - 300_000}&to=${to}&q=ca&sort=p50&side=both`,
    `?view=service&ns=host&w=cart&kind=unit&from=${to - 300_000}&to=${to}&table=1`,
    `?view=map&from=${to - 300_000}&to=${to}&q=cart`,
    `?view=events&from=${to - 30_000}&to=${to}&filter=status+%3E%3D+500`,
    `?view=alerts&from=${to - 300_000}&to=${to}&q=seen&sort=severity`,
    `?view=services&last=5m&at=${to - 60_000}&speed=30&paused=1`,
  ]) {
    const see = async () => {
      let text = '';
      await eventually(async () => { // until two looks are the same
        const before = text;
        text = (await page.locator('main').innerText()).replace(/\s+/g, ' ');
        assert.ok(!/Loading|Searching/.test(text) && text === before, text);
        assert.ok(await page.locator('main table.data, main .graph').count() > 0);
      });
      return text;
    };
    await walk(page, path);
    const was = await see();
    await page.reload();
    assert.equal(await see(), was, path);
    assert.deepEqual(state(page), Object.fromEntries(new URLSearchParams(path)));
  }
  await clean(page);
});

test('keyboard only: from the first Tab to one request', async () => {
  const page = await visit(browser, '?view=services&last=5m');
  await page.locator('table.services .lead').first().waitFor();
  await page.keyboard.press('Tab');
  assert.equal(await page.evaluate(() => document.activeElement.className), 'skip');
  await page.keyboard.press('Enter');
  assert.equal(await page.evaluate(() => document.activeElement.id), 'main');
  await page.keyboard.press('/');
  await page.keyboard.press('ArrowDown');
  await page.keyboard.press('ArrowDown');
  const names = await texts(page, 'table.services .lead');
  assert.equal((await page.evaluate(() => document.activeElement.innerText)).trim(), names[1]);
  await page.keyboard.press('Enter');
  await eventually(() => assert.equal(state(page).view, 'service'));
  await page.locator('canvas.heat').waitFor();
  await page.keyboard.press('Escape');
  await eventually(() => assert.equal(state(page).view, 'services'));
  await page.keyboard.press('3');
  await page.locator('table.events .lead').first().waitFor();
  await page.keyboard.press('?');
  await page.locator('dialog').waitFor();
  await page.keyboard.press('Escape');
  await page.locator('dialog').waitFor({ state: 'detached' });
  for (const [k, view] of [['2', 'map'], ['4', 'alerts'], ['5', 'health'], ['1', 'services']]) {
    await page.keyboard.press(k);
    await eventually(() => assert.equal(state(page).view, view));
  }
  await clean(page);
});

test('names that attack are inert text', async () => {
  const hostile = '<img src=x onerror="window.hacked=1">';
  const page = await visit(browser, '?view=services&last=5m&side=both');
  const lead = page.locator('table.services .lead', { hasText: hostile });
  await lead.waitFor();
  await lead.click();
  await page.locator('h1', { hasText: hostile }).waitFor();
  await page.locator('.operations').waitFor();
  assert.ok((await page.locator('.operations').innerText()).includes(hostile));
  await page.goto(`${base}/?view=map&last=5m`);
  await page.locator('.node', { hasText: '<img src=x' }).waitFor();
  await page.goto(`${base}/?view=events&from=${Date.now() - 600_000}&to=${Date.now()}&filter=${encodeURIComponent(`path.contains("onerror")`)}`);
  await page.locator('table.events td', { hasText: hostile }).first().waitFor();
  await page.goto(`${base}/?view=alerts`);
  await page.locator('table.alerts td', { hasText: `workload=${hostile}` }).first().waitFor();
  await page.locator('table.changes td', { hasText: '<script>window.hacked=1</script>' }).first().waitFor();
  await page.locator('.timeline a').first().waitFor();
  await page.goto(`${base}/?view=services&q=${encodeURIComponent('<script>window.hacked=1</script>')}`);
  await page.getByText('<script>window.hacked=1</script>').waitFor();
  assert.equal(await page.locator('img, main script').count(), 0);
  await clean(page);
});

test('dark and light, and less motion', async () => {
  for (const scheme of ['dark', 'light']) {
    const page = await visit(browser, '?view=services', { colorScheme: scheme });
    await page.locator('table.services').waitFor();
    const theme = () => page.evaluate(() => document.documentElement.dataset.theme);
    const background = () => page.evaluate(() => getComputedStyle(document.documentElement).backgroundColor);
    assert.equal(await theme(), scheme);
    const was = await background();
    await page.keyboard.press('d');
    assert.notEqual(await theme(), scheme);
    assert.notEqual(await background(), was);
    const other = await theme();
    await page.reload();
    await page.locator('table.services').waitFor();
    assert.equal(await theme(), other);
    assert.equal(await page.evaluate(() => getComputedStyle(document.querySelector('.dot')).animationName), 'none');
    await clean(page);
  }
});

test('axe finds nothing serious', async () => {
  const to = Date.now() - 60_000;
  for (const scheme of ['dark', 'light']) {
    const page = await visit(browser, '', { colorScheme: scheme, bypassCSP: true });
    await page.addScriptTag({ content: axeSource });
    for (const path of ['?view=services', '?view=service&ns=host&w=payment&kind=unit', `?view=service&ns=host&w=payment&kind=unit&from=${to - 60_000}&to=${to}&table=1`,
      '?view=map', '?view=map&table=1', `?view=events&from=${to - 1000}&to=${to}`, '?view=health&last=15m', '?view=alerts', `?view=services&at=${to}&paused=1`]) {
      await walk(page, path);
      await page.locator(path.includes('map') && !path.includes('table') ? '.graph' : 'table.data').first().waitFor();
      const found = await page.evaluate(async () => (await window.axe.run({ resultTypes: ['violations'] })).violations.map((v) => ({ id: v.id, impact: v.impact, nodes: v.nodes.map((n) => n.html.slice(0, 120)).slice(0, 3) })));
      assert.deepEqual(found.filter((v) => v.impact === 'serious' || v.impact === 'critical'), [], `${path} in ${scheme}`);
    }
    await page.context().close();
  }
});

test('nothing is large, and nothing comes from elsewhere', async () => {
  const page = await visit(browser, '?view=services');
  await page.locator('table.services').waitFor();
  const bytes = await page.evaluate(() => performance.getEntriesByType('resource').filter((r) => !r.name.includes('/api/')).reduce((sum, r) => sum + r.encodedBodySize, 0)
    + performance.getEntriesByType('navigation')[0].encodedBodySize);
  assert.ok(bytes > 20_000 && bytes <= 150_000, `${bytes} bytes`);
  await clean(page);
});

test('alerts: a rule that is added fires without a reload', { skip: !control }, async () => {
  const page = await visit(browser, '?view=alerts&q=added');
  await page.getByText('Nothing of it has these words.').waitFor();
  const before = parseInt(await page.locator('nav .fires').innerText(), 10);
  await page.evaluate(() => { window.sameDocument = true; });
  assert.ok((await fetch(`${control}/rule`, { method: 'POST' })).ok);
  await page.locator('table.alerts tr', { hasText: 'it was added' }).waitFor({ timeout: 180_000 });
  await page.locator('table.changes tr', { hasText: 'it was added' }).waitFor();
  await eventually(async () => assert.ok(parseInt(await page.locator('nav .fires').innerText(), 10) >= before));
  assert.equal(await page.evaluate(() => window.sameDocument), true);
  await clean(page);
});

test('alerts: what a silence silences, without a reload', { skip: !control }, async () => {
  const page = await visit(browser, '?view=alerts');
  await page.locator('table.alerts tr', { hasText: 'web probe' }).waitFor();
  await page.locator('table.silences tr', { hasText: /Never.*namespace=~"host\|shop\.\*"/ }).waitFor();
  await page.evaluate(() => { window.sameDocument = true; });
  assert.ok((await fetch(`${control}/silence`, { method: 'POST' })).ok);
  const silence = page.locator('table.silences tr', { hasText: 'workload="web probe"' });
  await page.locator('table.alerts tr', { hasText: 'web probe' }).locator('.alert-silenced').waitFor({ timeout: 120_000 });
  await eventually(async () => assert.match(await silence.innerText(), /alertname="Seen"\s+workload="web probe"\s+1\s+\d[^]*it is known, <script>[^]*by ann\s+weir alerts unsilence [0-9a-f]{8}/));
  // The alert says by whom it is silenced, and isn't among those that fire.
  await eventually(async () => assert.match(await page.locator('table.alerts tr', { hasText: 'web probe' }).innerText(), /silenced until \d[^]* by ann/));
  await eventually(async () => {
    const states = (await texts(page, 'table.alerts tbody td:nth-child(2)')).map((s) => s.replace(/^\S+\s+/, ''));
    assert.equal(parseInt(await page.locator('nav .fires').innerText(), 10), states.filter((s) => s === 'firing').length);
    assert.deepEqual(states, ['firing', 'silenced', 'pending', 'over'].flatMap((s) => states.filter((x) => x === s)));
  });
  // It leads to what it silences.
  await silence.locator('.lead').click();
  await eventually(async () => assert.deepEqual(await texts(page, 'table.alerts tbody td:first-child'), ['Seen']));
  assert.equal(await page.locator('table.silences tbody tr').count(), 1);
  assert.equal(await page.evaluate(() => window.sameDocument && !window.hacked), true);
  await clean(page);
});

test('NATS goes away and comes back, without a reload', { skip: !control }, async () => {
  const page = await visit(browser, '?view=services&last=5m');
  await page.locator('table.services .lead').first().waitFor();
  await page.evaluate(() => { window.sameDocument = true; });
  const events = await visit(browser, '?view=events');
  await events.locator('table.events .lead').first().waitFor();
  assert.ok((await fetch(`${control}/stop`, { method: 'POST' })).ok);
  await page.locator('.strip.bad', { hasText: 'NATS is away' }).waitFor();
  assert.ok(await page.locator('table.services .lead').count() > 0, 'what is known went away');
  assert.ok((await fetch(`${control}/start`, { method: 'POST' })).ok);
  await page.locator('.strip:not(.bad)').waitFor({ timeout: 60_000 });
  const now = await page.locator('.about').innerText();
  await eventually(async () => assert.notEqual(await page.locator('.about').innerText(), now), 60_000);
  assert.equal(await page.evaluate(() => window.sameDocument), true);
  const newest = await events.locator('table.events .lead').first().innerText();
  await eventually(async () => assert.notEqual(await events.locator('table.events .lead').first().innerText(), newest), 60_000);
  await page.context().close();
  await events.context().close();
});
