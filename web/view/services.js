// All workloads: who is slow, who fails, and is it work or waiting.
import { html } from '../vendor/vendor.js';
import { url, go, narrowed, timeQuery, workload, mode } from '../state.js';
import { useAnswer } from '../data.js';
import { Table } from '../table.js';
import { Spark } from '../spark.js';
import { About, Narrowed, Problem, ahead } from './about.js';
import * as f from '../format.js';

const sides = [['', 'servers'], ['client', 'clients'], ['both', 'both']];

/** The columns that say how requests went; shared by all tables of rows. */
export const figures = [
  { key: 'rate', label: 'Rate /s', num: true, value: (r) => r.rate, cell: (r) => f.rate(r.rate) },
  { key: 'errors', label: 'Errors', num: true, value: (r) => r.errors / (r.count || 1), title: 'responses of 500 and above, and requests without one; of clients also 400 and above',
    cell: (r) => f.percent(r.errors / (r.count || 1)), className: (r) => (r.errors ? 'failing' : 'dim') },
  { key: 'p50', label: 'p50', num: true, value: (r) => r.p50_ms, cell: (r) => f.ms(r.p50_ms) },
  { key: 'p90', label: 'p90', num: true, value: (r) => r.p90_ms, cell: (r) => f.ms(r.p90_ms) },
  { key: 'p99', label: 'p99', num: true, value: (r) => r.p99_ms, cell: (r) => html`<strong>${f.ms(r.p99_ms)}</strong>` },
  { key: 'max', label: 'max', num: true, value: (r) => r.max_ms, cell: (r) => f.ms(r.max_ms) },
  { key: 'wait', label: 'Wait', num: true, value: (r) => r.wait_share, title: 'share of the time that requests had arrived and were not read yet',
    cell: (r) => (r.side === 'client' ? html`<span class="dim">–</span>` : html`<${Share} of=${r.wait_share} />`) },
];

function Share({ of }) {
  return html`<span class="share"><span class="bar" aria-hidden="true"><span style=${{ width: `${Math.round(100 * of)}%` }}></span></span>${Math.round(100 * of)} %</span>`;
}

export const Name = ({ of }) => html`<span class="name">${of.namespace && of.namespace !== 'host' && of.workload && html`<span class="dim">${of.namespace}/</span>`}${of.workload || of.namespace || '(other)'}</span>`;

const columns = [
  { key: 'name', label: 'Service', value: (r) => `${r.namespace}/${r.workload}/${r.side}`, cell: (r) => html`<${Name} of=${r} />` },
  { key: 'side', label: 'Side', value: (r) => r.side, cell: (r) => html`<span class="dim">${r.side}</span>` },
  { key: 'trend', label: 'Course', cell: (r) => html`<${Spark} values=${r.spark?.rate} label=${`rate of ${r.workload} over time`} />` },
  ...figures,
  { key: 'p99trend', label: 'its course', cell: (r) => html`<${Spark} values=${r.spark?.p99_ms} kind="slow" label=${`p99 of ${r.workload} over time`} />` },
];

const order = ['name', 'side', 'trend', 'rate', 'errors', 'p50', 'p90', 'p99', 'p99trend', 'max', 'wait'];
const without = (...keys) => order.filter((k) => !keys.includes(k)).map((k) => columns.find((c) => c.key === k));
const shown = { '': without('side'), client: without('side', 'wait'), both: without() };

export function Services() {
  const side = url.value.side || '';
  const ask = narrowed();
  if (side === 'both') ask.delete('side');
  else ask.set('side', side || 'server');
  const { answer, error } = useAnswer(`services?${timeQuery.value}&${ask}`);
  const words = (url.value.q || '').toLowerCase().split(/\s+/).filter(Boolean);
  const rows = (answer?.rows || []).filter((r) => words.every((w) => `${r.namespace}/${r.workload} ${r.side} ${r.kind}`.toLowerCase().includes(w)));
  const total = rows.reduce((sum, r) => sum + r.rate, 0);
  return html`
    <div class="bar-of-view">
      <h1>Services</h1>
      <label class="filter"><span class="hidden">Filter</span>
        <input type="search" data-filter placeholder="Filter by name  /" value=${url.value.q || ''}
          onInput=${(e) => go({ q: e.target.value }, { replace: true })}
          onKeyDown=${(e) => { if (e.key === 'ArrowDown' || e.key === 'Enter') { e.preventDefault(); document.querySelector('table.services .lead')?.focus(); } if (e.key === 'Escape') e.target.blur(); }} /></label>
      <div class="group" role="group" aria-label="Side">${sides.map(([s, name]) => html`
        <button type="button" aria-pressed=${side === s} onClick=${() => go({ side: s }, { replace: true })}>${name}</button>`)}</div>
      <${Narrowed} />
      <${About} answer=${answer} error=${error} />
    </div>
    <${Problem} error=${error} />
    ${answer && (rows.length ? html`
      <${Table} className="services" columns=${shown[side] || shown['']} rows=${rows} param="sort" fallback="-rate"
        id=${(r) => `${r.namespace}/${r.workload}/${r.kind}/${r.side}/${r.protocol}`} link=${(r) => workload(r, r.side)} />
      <p class="summary">${rows.length} ${rows.length === 1 ? 'row' : 'rows'}, <span class="tnum">${f.rate(total)}</span> requests/s${answer.left_out ? `; ${answer.left_out} less busy ones are left out` : ''}</p>`
      : html`<${Nothing} filtered=${words.length > 0 && answer.rows.length > 0} answer=${answer} />`)}`;
}

function Nothing({ filtered, answer }) {
  if (filtered) return html`<p class="nothing">No name contains “${url.value.q}”. <button type="button" onClick=${() => go({ q: null })}>Show all ${answer.rows.length}</button></p>`;
  return html`<p class="nothing">${ahead(answer) ? 'This interval lies ahead.' : 'No requests in this interval.'}${answer.missing || mode.value !== 'live' ? '' : ' Every HTTP request of what Weir watches is shown about 15 s after it was made.'}</p>`;
}
