// What every view says of its numbers: of when they are, what is missing, what
// was lost, and what went wrong.
import { html } from '../vendor/vendor.js';
import { url, go } from '../state.js';
import { skew } from '../data.js';
import * as f from '../format.js';

export function About({ answer, error }) {
  if (!answer) return html`<p class="about">${error ? '' : 'Loading…'}</p>`;
  const to = ahead(answer) ? answer.to : Math.min(answer.to, answer.until);
  const partial = answer.covered_s * 1000 < (to - answer.from) - 1;
  return html`<p class="about">
    <span class="tnum">${f.interval(answer.from, Math.max(to, answer.from))}</span>
    <span class="dim"> in windows of ${f.age(answer.step_ms)}</span>
    ${partial && !answer.missing && answer.since > answer.from && html`<span class="dim">, measured since ${f.clock(answer.since)}</span>`}
    ${answer.missing && html`<span class="missing">${answer.missing}</span>`}
    ${answer.lost > 0 && html`<span class="missing">up to ${f.count(answer.lost)} lost</span>`}
  </p>`;
}

/** Whether nothing of the interval has happened yet. */
export const ahead = (answer) => answer.from >= Date.now() + skew.value;

/** What a view is narrowed to, and the way back to everything. */
export function Narrowed({ side }) {
  const u = url.value;
  const words = [side && u.side, u.w ? f.title({ namespace: u.ns, workload: u.w }) : u.ns].filter(Boolean);
  return words.length > 0 && html`<button type="button" title="all workloads"
    onClick=${() => go({ ns: null, w: null, kind: null, ...(side ? { side: null } : {}) })}>${words.join(' ')} ✕</button>`;
}

export function Problem({ error }) {
  return error ? html`<p class="problem" role="alert">${error.message === 'Failed to fetch' ? 'The gateway doesn’t answer.' : error.message}</p>` : null;
}
