// Shows one view after the other while the page is busy, types into it, and
// prints how smooth that was: node busy.mjs SECONDS, of each view.
import { launch, visit } from './browser.mjs';

const spell = Number(process.argv[2]) * 1000;
const views = {
  Services: '?view=services&side=both&last=15m',
  'Service heatmap': '?view=service&ns=host&w=service-05&kind=unit&last=15m',
  Map: '?view=map&last=15m',
  Events: '?view=events',
};
const until = { Services: 'table.services', 'Service heatmap': 'canvas.heat', Map: '.graph svg', Events: 'table.events .lead' };

const browser = await launch();
const out = {};
for (const [view, path] of Object.entries(views)) {
  const page = await visit(browser, path);
  await page.locator(until[view]).first().waitFor();
  // A task of more than 50 ms is a long one. A key has had its effect when the
  // frame after it is drawn.
  await page.evaluate(() => {
    window.tasks = [];
    window.keys = [];
    new PerformanceObserver((list) => { for (const e of list.getEntries()) window.tasks.push(e.duration); }).observe({ type: 'longtask' });
    addEventListener('keydown', (e) => requestAnimationFrame(() => {
      const drawn = new MessageChannel();
      drawn.port1.onmessage = () => window.keys.push(performance.now() - e.timeStamp);
      drawn.port2.postMessage(0);
    }), { capture: true });
  });
  const heat = page.locator('canvas.heat');
  if (await heat.count()) await heat.focus();
  else await page.keyboard.press('/');
  const end = Date.now() + spell;
  for (let n = 0; Date.now() < end; n++) {
    const key = await heat.count() ? ['ArrowLeft', 'ArrowUp'][n % 2] : 'service'[n % 14] || 'Backspace';
    await page.keyboard.press(key);
    await new Promise((r) => setTimeout(r, 100));
  }
  out[view] = await page.evaluate(() => ({ tasks: window.tasks, keys: window.keys }));
  if (page.wrong.length) throw new Error(page.wrong.join('\n'));
  await page.context().close();
}
await browser.close();
console.log(JSON.stringify(out));
