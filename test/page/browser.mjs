// What the checks and the screenshots share: a browser, and a page in a state.
import { chromium } from 'playwright-core';

const executable = process.env.WEIR_CHROMIUM || '/usr/bin/chromium';
export const base = process.env.WEIR_PAGE || 'http://127.0.0.1:7979';

export function launch() {
  return chromium.launch({ executablePath: executable, args: ['--no-sandbox', '--disable-dev-shm-usage'] });
}

/** A page at an address of the page, and what went wrong on it. */
export async function visit(browser, path, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1440, height: 900 }, colorScheme: 'dark', reducedMotion: 'reduce', ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(20_000);
  page.wrong = [];
  page.on('console', (m) => { if (m.type() === 'error') page.wrong.push(m.text()); });
  page.on('pageerror', (e) => page.wrong.push(e.stack));
  page.on('request', (r) => { if (!r.url().startsWith(base)) page.wrong.push(`loads ${r.url()}`); });
  await page.goto(`${base}/${path}`);
  return page;
}

/** Polls until a check passes, or fails with its last failure. */
export async function eventually(check, timeout = 30_000) {
  const end = Date.now() + timeout;
  for (;;) {
    try {
      return await check();
    } catch (e) {
      if (Date.now() > end) throw e;
      await new Promise((r) => setTimeout(r, 100));
    }
  }
}
