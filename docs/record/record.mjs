// Runs the demo, waits until it has a past, and takes the pictures. docs/record/record
// runs it.
import { execFileSync, spawn } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { base, eventually, launch, visit } from '../../test/page/browser.mjs';
import { Terminal } from './terminal.mjs';

const past = 1000 * (process.argv[2] || 330); // the page shows five minutes
const docs = new URL('..', import.meta.url).pathname;

// The shop alone is in the cgroup, not what takes the pictures.
const up = spawn('bash', ['-c', 'echo $$ >"$GROUP/cgroup.procs" && exec weir up --demo --data-dir "$WORK/data" --cgroup "$GROUP" --rules docs/record/shop.yaml --slo docs/record/objectives.yaml'], { stdio: 'inherit' });
const ended = new Promise((done) => { up.on('exit', done); });
try {
  await eventually(async () => { if (!(await fetch(`${base}/readyz`)).ok) throw new Error('weir up is not ready'); }, 60_000);
  execFileSync('weir', ['alerts', 'silence', 'SlowCallers', 'workload=shop-frontend', '--for', '2h', '--author', 'ann', '--comment', 'payment is being looked at']);
  await sleep(past);
  await terminal();
  await screenshots();
} finally {
  up.kill('SIGINT');
  await ended;
}

async function terminal() {
  const t = new Terminal(126, 24, process.env.WORK);
  try {
    await scene(t);
  } finally {
    t.close();
  }
  writeFileSync(`${docs}terminal.svg`, t.svg('weir latency and weir top, with the shop of weir up --demo'));
}

async function scene(t) {
  await t.shows(/\$ $/m);
  await t.command('weir latency --side server --wait', /^page /m, 6000);
  await t.command('weir top --side server', /live$/m, 3500);
  await t.keys('s', /MAX▼/, 1500);
  await t.keys('s', /WAIT P99▼/, 3500);
  for (const letter of ['/', 'p', 'a', 'y']) await t.keys(letter, /\/p?a?y?/, 400);
  await t.keys('Enter', /shop-payment/, 1500);
  await t.keys('Enter', /› shop-payment \(server\)$/m, 4000);
  await t.keys('Enter', /› POST \/charges$/m, 4000);
  await t.keys('q', /\$ $/m, 500);
}

async function screenshots() {
  const browser = await launch();
  const { rows } = await (await fetch(`${base}/api/services?last=5m&side=server`)).json();
  const payment = rows.find((r) => r.workload === 'shop-payment');
  const service = `?view=service&ns=${payment.namespace}&w=${payment.workload}&kind=${payment.kind}&last=5m`;

  async function shoot(name, path, { scheme = 'dark', height = 800, until = 'table.data, .graph', then = async () => {} } = {}) {
    const tab = await visit(browser, path, { colorScheme: scheme, viewport: { width: 1280, height } });
    await tab.locator(until).first().waitFor();
    await eventually(async () => {
      if (/Loading|Searching|read$/.test((await tab.locator('.about, .strip').allInnerTexts()).join())) throw new Error(`${name} is not loaded`);
    });
    await then(tab);
    await tab.screenshot({ path: `${docs}page/${name}.png` });
    await tab.context().close();
  }

  await shoot('services', '?view=services&last=5m', { height: 400 });
  for (const scheme of ['dark', 'light']) {
    const light = scheme === 'light' ? '-light' : '';
    await shoot(`service${light}`, service, { scheme, height: 800, until: 'canvas.heat', then: (tab) => tab.locator('canvas.heat').hover({ position: { x: 700, y: 120 } }) });
    await shoot(`map${light}`, '?view=map&last=5m', { scheme, height: 420 });
  }
  await shoot('events', '?view=events&filter=duration_ms+%3E+100+%26%26+side+%3D%3D+"server"', { height: 640, then: async (tab) => {
    await tab.locator('table.events tr').nth(10).waitFor();
    await tab.getByRole('button', { name: 'Hold' }).click();
    await tab.locator('table.events tr', { hasText: 'POST /charges' }).first().locator('.lead').click();
    await tab.locator('.detail').waitFor();
  } });
  for (const scheme of ['dark', 'light']) {
    await shoot(`alerts${scheme === 'light' ? '-light' : ''}`, '?view=alerts', { scheme, height: 900, until: '.timeline svg' });
  }
  await shoot('health', '?view=health&last=5m', { height: 720 });
  await browser.close();
}
