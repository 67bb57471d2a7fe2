// Makes the pictures of docs/page.md: node test/page/screenshots.mjs, with
//
//   go run ./test/page/live --past 2h --lost 3
//
// beside it once that says that it has its past. See package.json for what it needs.
import { mkdirSync } from 'node:fs';
import { launch, visit, eventually } from './browser.mjs';

const folder = new URL('../../docs/page/', import.meta.url).pathname;
mkdirSync(folder, { recursive: true });
const browser = await launch();

async function shoot(name, path, { scheme = 'dark', height = 800, until = 'table.data, .graph', then = async () => {} } = {}) {
  const page = await visit(browser, path, { colorScheme: scheme, viewport: { width: 1280, height } });
  await page.locator(until).first().waitFor();
  await eventually(async () => { if (/Loading|Searching|read$/.test(await page.locator('.about, .strip').allInnerTexts().then((t) => t.join()))) throw new Error(`${name} is not loaded`); });
  await then(page);
  await page.screenshot({ path: `${folder}${name}.png` });
  await page.context().close();
}

await shoot('services', '?view=services&last=1h', { height: 460 });
await shoot('service', '?view=service&ns=host&w=payment&kind=unit&last=1h', { height: 1020, until: 'canvas.heat', then: async (page) => {
  await page.locator('canvas.heat').hover({ position: { x: 700, y: 120 } });
} });
await shoot('service-light', '?view=service&ns=host&w=payment&kind=unit&last=1h', { scheme: 'light', height: 620, until: 'canvas.heat' });
await shoot('map', '?view=map&last=15m', { height: 420 });
await shoot('events', '?view=events&filter=duration_ms+%3E+100+%26%26+side+%3D%3D+"server"', { height: 640, then: async (page) => {
  await page.getByRole('button', { name: 'Hold' }).click();
  await page.locator('table.events .lead').first().click();
  await page.locator('.detail').waitFor();
} });
await shoot('health', '?view=health&last=15m', { height: 720 });
await browser.close();
