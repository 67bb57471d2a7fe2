// One workload: its latency as a picture, where the time goes, what it is asked,
// who calls it and whom it calls.
import { html } from '../vendor/vendor.js';
import { url, go, open, timeQuery, workload } from '../state.js';
import { useAnswer } from '../data.js';
import { Table, Go } from '../table.js';
import { Heatmap } from '../heatmap.js';
import { Chart } from '../chart.js';
import { figures, Name } from './services.js';
import { About, Problem } from './about.js';
import * as f from '../format.js';

const zoomed = ({ from, to, lo, hi }) => go({
  ...(from && to ? { from, to, at: null, speed: null, paused: null } : {}),
  ...(lo ? { lo: precise(lo), hi: precise(hi) } : {}), t: null,
});
const precise = (ms) => Number(ms.toPrecision(6));

export function Service() {
  const u = url.value;
  const who = new URLSearchParams({ namespace: u.ns || '', workload: u.w || '', kind: u.kind || '', side: u.side === 'client' ? 'client' : 'server' });
  const { answer, error } = useAnswer(`service?${who}&${timeQuery.value}`);
  const client = u.side === 'client';
  const cell = u.t ? { from: Number(u.t), to: Number(u.t) + (answer?.step_ms || 10_000), lo: Number(u.clo), hi: Number(u.chi) } : null;
  return html`
    <div class="bar-of-view">
      <h1><${Go} to=${open('services')} class="dim" title="all services (Esc)">Services<//> <span class="dim" aria-hidden="true">/</span> <${Name} of=${{ namespace: u.ns, workload: u.w, kind: u.kind }} /></h1>
      <div class="group" role="group" aria-label="Side">
        <button type="button" aria-pressed=${!client} onClick=${() => go({ side: null, t: null })} title="as it serves">server</button>
        <button type="button" aria-pressed=${client} onClick=${() => go({ side: 'client', t: null })} title="as it calls others">client</button>
      </div>
      <button type="button" aria-pressed=${Boolean(u.table)} onClick=${() => go({ table: u.table ? null : 1 }, { replace: true })} title="drawing or table (v)">As a table</button>
      ${(u.lo || u.hi) && html`<button type="button" onClick=${() => go({ lo: null, hi: null })}>All latencies</button>`}
      <${About} answer=${answer} error=${error} />
    </div>
    <${Problem} error=${error} />
    ${answer && !answer.total && html`<p class="nothing">No request ${client ? 'of' : 'to'} ${u.w} in this interval${answer.callees?.length && !client ? ', but it calls others: see its client side' : ''}.</p>`}
    ${answer?.total && html`
      <${Tiles} of=${answer.total} client=${client} />
      ${u.table ? html`<${Columns} answer=${answer} client=${client} />` : html`<${Drawings} answer=${answer} client=${client} cell=${cell} />`}
      ${cell && html`<${Cell} cell=${cell} who=${who} />`}
      <${Tables} answer=${answer} />`}`;
}

function Tiles({ of, client }) {
  const tile = (name, value, className = '') => html`<div><dt>${name}</dt><dd class=${className}>${value}</dd></div>`;
  return html`<dl class="tiles">
    ${tile('Rate', `${f.rate(of.rate)} /s`)}${tile('Requests', f.count(of.count))}
    ${tile('Errors', f.percent(of.errors / of.count), of.errors ? 'failing' : '')}
    ${tile('p50', f.ms(of.p50_ms))}${tile('p90', f.ms(of.p90_ms))}${tile('p99', f.ms(of.p99_ms))}${tile('max', f.ms(of.max_ms))}
    ${!client && tile('Wait p99', f.ms(of.wait_p99_ms))}${!client && tile('Wait share', f.percent(of.wait_share))}
  </dl>`;
}

function Drawings({ answer, client, cell }) {
  const u = url.value;
  const total = answer.total;
  return html`
    <section class="panel" aria-labelledby="latency">
      <div class="top"><h2 id="latency">Latency</h2>
        <span class="legend"><span class="line c-text">p50</span><span class="line dashed c-text">p99</span></span>
        <span class="dim right">drag to zoom, click for single requests</span></div>
      <${Heatmap} answer=${answer} low=${Number(u.lo)} high=${Number(u.hi)} picked=${cell} onzoom=${zoomed}
        onpick=${(c) => go({ t: c.from, clo: precise(c.lo), chi: precise(c.hi) })}
        label=${`Latency of ${u.w} over time: p50 ${f.ms(total.p50_ms)}, p99 ${f.ms(total.p99_ms)}, at most ${f.ms(total.max_ms)}. Arrow keys walk the cells, Enter opens one. The key v shows a table.`} />
    </section>
    <div class="two">
      <section class="panel" aria-labelledby="rates">
        <div class="top"><h2 id="rates">Requests and errors a second</h2><span class="legend right"><span class="line c-rate">requests</span><span class="line c-bad">errors</span></span></div>
        <${Chart} answer=${answer} format=${f.rate} onzoom=${zoomed} label=${`Requests a second over time: ${f.rate(total.rate)} on average, ${f.percent(total.errors / total.count)} errors`}
          series=${[{ label: 'requests', values: answer.columns.rate, colour: 'rate', fill: 14 }, { label: 'errors', values: answer.columns.errors, colour: 'bad' }]} />
      </section>
      <section class="panel" aria-labelledby="parts">
        <div class="top"><h2 id="parts">Where the time goes, mean</h2><span class="legend right">${!client && html`<span class="c-wait">wait</span>`}<span class="c-processing">processing</span><span class="c-transfer">transfer</span></span></div>
        <${Chart} answer=${answer} format=${f.ms} onzoom=${zoomed} label=${`Mean parts of latency: wait ${f.ms(total.wait_ms)}, processing ${f.ms(total.processing_ms)}, transfer ${f.ms(total.transfer_ms)}`}
          series=${[
            { label: 'processing', values: answer.columns.processing_ms, colour: 'processing', fill: 55, stack: true },
            ...(client ? [] : [{ label: 'wait', values: answer.columns.wait_ms, colour: 'wait', fill: 55, stack: true }]),
            { label: 'transfer', values: answer.columns.transfer_ms, colour: 'transfer', fill: 55, stack: true }]} />
      </section>
    </div>`;
}

/** The drawings' numbers, a row a window. */
function Columns({ answer, client }) {
  const c = answer.columns;
  const rows = c.rate.map((_, i) => ({ t: answer.from + i * answer.step_ms, i })).filter((r) => c.rate[r.i] !== null).reverse();
  const column = (key, label, values, cell) => ({ key, label, num: true, value: (r) => values[r.i] ?? -1, cell: (r) => cell(values[r.i]) });
  return html`<${Table} caption="A row a window, the newest first" id=${(r) => r.t} rows=${rows} columns=${[
    { key: 't', label: 'From', value: (r) => r.t, cell: (r) => html`<span class="tnum">${f.clock(r.t)}</span>` },
    column('rate', 'Rate /s', c.rate, f.rate), column('errors', 'Errors /s', c.errors, f.rate),
    column('p50', 'p50', c.p50_ms, f.ms), column('p90', 'p90', c.p90_ms, f.ms), column('p99', 'p99', c.p99_ms, f.ms),
    ...(client ? [] : [column('wait', 'Wait', c.wait_ms, f.ms)]),
    column('processing', 'Processing', c.processing_ms, f.ms), column('transfer', 'Transfer', c.transfer_ms, f.ms),
  ]} />`;
}

/** What is in a cell of the heatmap: exemplars, and the way to all its events. */
function Cell({ cell, who }) {
  const { answer, error } = useAnswer(`exemplars?${who}&from=${cell.from}&to=${cell.to}&min_ms=${cell.lo}&max_ms=${cell.hi}`);
  const events = open('events', {
    from: cell.from, to: cell.to, at: null, ns: who.get('namespace'), w: who.get('workload'), kind: who.get('kind'), side: who.get('side'),
    filter: `duration_ms > ${cell.lo} && duration_ms <= ${cell.hi}`,
  });
  return html`<section class="panel detail" aria-labelledby="cell">
    <div class="top"><h2 id="cell">${f.clock(cell.from)}, ${f.ms(cell.lo)} – ${f.ms(cell.hi)}</h2>
      <${Go} to=${events}>all its requests<//>
      <button type="button" class="right" onClick=${() => go({ t: null, clo: null, chi: null })}>Close</button></div>
    <${Problem} error=${error} />
    ${answer && (answer.exemplars.length ? html`<${Table} caption="Exemplars, the slowest first" rows=${answer.exemplars} id=${(r) => r.time + r.operation} columns=${[
      { key: 'time', label: 'Ended', cell: (r) => html`<span class="tnum">${f.clock(r.time, true)}</span>` },
      { key: 'value', label: 'Duration', num: true, cell: (r) => f.ms(r.value_ms) },
      { key: 'operation', label: 'Operation', cell: (r) => r.operation },
      { key: 'status', label: 'Status', cell: (r) => r.status },
      { key: 'peer', label: who.get('side') === 'client' ? 'To' : 'From', cell: (r) => f.title(r.peer) },
      { key: 'trace', label: 'Trace', cell: (r) => html`<code>${r.trace_id || '–'}</code>` },
    ]} />` : html`<p class="dim">No exemplar of this cell was kept: the four slowest of a series in a window are. Its single requests are kept for four hours.</p>`)}
  </section>`;
}

function Tables({ answer }) {
  const some = figures.filter((c) => c.key !== 'max');
  const peers = (param, label, rows, side) => html`<section class="panel">
    <${Table} caption=${label} param=${param} fallback="-rate" rows=${rows} id=${(r) => `${r.peer?.namespace}/${r.peer?.workload}/${r.protocol}`}
      link=${(r) => workload(r.peer || {}, r.peer?.namespace === 'external' && side === 'server' ? 'client' : 'server')}
      columns=${[{ key: 'name', label: 'Workload', value: (r) => f.title(r.peer || {}), cell: (r) => html`<${Name} of=${r.peer || { workload: '(merged)' }} />` },
        ...some.filter((c) => c.key !== 'wait' || side === 'server')]} /></section>`;
  return html`
    <section class="panel operations"><${Table} caption="Operations" param="osort" fallback="-rate" rows=${answer.operations} id=${(r) => r.operation}
      onrow=${(r) => go(open('events', { ns: url.value.ns, w: url.value.w, kind: url.value.kind, side: url.value.side || 'server', filter: `operation == ${JSON.stringify(r.operation)}` }))}
      columns=${[{ key: 'name', label: 'Operation', value: (r) => r.operation, cell: (r) => html`<span title="its single requests">${r.operation || '(other)'}</span>` }, ...some]} /></section>
    <div class="two">
      ${answer.callers.length > 0 && peers('csort', 'Callers', answer.callers, 'server')}
      ${answer.callees.length > 0 && peers('esort', 'Calls', answer.callees, 'client')}
    </div>
    <section class="panel"><${Table} caption="Statuses" rows=${answer.statuses} id=${(r) => r.status} columns=${[
      { key: 'status', label: 'Status', cell: (r) => r.status || '–' },
      { key: 'count', label: 'Requests', num: true, cell: (r) => f.count(r.count) }, ...some.filter((c) => ['rate', 'p50', 'p99'].includes(c.key))]} /></section>
    ${answer.left_out > 0 && html`<p class="summary">${answer.left_out} less busy rows are left out.</p>`}`;
}
