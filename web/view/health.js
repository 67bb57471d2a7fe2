// Whether the numbers can be trusted: what was generated, delivered and lost,
// how far behind each part is, and how long the streams still keep.
import { html } from '../vendor/vendor.js';
import { timeQuery } from '../state.js';
import { live, skew, useAnswer } from '../data.js';
import { Table } from '../table.js';
import { About, Problem } from './about.js';
import * as f from '../format.js';

const reasons = {
  ring_full: 'kernel records found no room', storage_full: 'no socket storage for a connection', conn_limit: 'a connection with open requests was evicted',
  unparsed: 'the end of a request could not be found', spool_full: 'frames left the agent’s spool unsent', expired: 'frames expired before they were read',
  event_limit: 'events did not fit into a frame',
};

const lostOf = (n, unit) => n.lost.filter((l) => l.unit === unit).reduce((sum, l) => sum + l.count, 0);

/** One sentence, and how bad it is. */
function verdict(a) {
  const now = Date.now() + skew.value;
  const silent = (a.nodes || []).filter((n) => n.heard && now - n.heard > 15_000);
  const lost = (a.nodes || []).reduce((sum, n) => sum + n.lost.reduce((s, l) => s + l.count, 0), 0);
  const waiting = (a.partitions || []).flatMap((p) => [p.unenriched_at, p.uncounted_at]).filter(Boolean);
  const behind = waiting.length ? now - Math.min(...waiting) : 0;
  if (!live.value?.connected) return ['bad', 'NATS is away: this is what was known.'];
  if (!a.nodes?.length) return ['warn', 'No agent was heard from in this interval.'];
  if (silent.length) return ['bad', `${silent.length === 1 ? `The agent of ${silent[0].node} is` : `${silent.length} agents are`} silent.`];
  if (behind > 90_000) return ['bad', `What arrived ${f.age(behind)} ago isn’t counted yet: the enricher or the aggregator is away or too slow.`];
  if (!a.balanced) return ['warn', 'What was published and what was counted differ: a frame is being counted right now, or look at the ledger again.'];
  if (lost) return ['warn', `Up to ${f.count(lost)} requests are missing from the numbers; all others are counted exactly once.`];
  return ['ok', 'Every request is counted exactly once, and none is known to be lost.'];
}

export function Health() {
  const { answer: a, error } = useAnswer(`health?${timeQuery.value}`);
  const [level, sentence] = a ? verdict(a) : [];
  const now = Date.now() + skew.value;
  const since = (t) => (t ? `${f.age(now - t)} ago` : '–');
  const other = (n) => n.version && n.version !== a.gateway.version;
  const num = (key, label, of, cell = f.count) => ({ key, label, num: true, value: of, cell: (r) => cell(of(r)) });
  return html`
    <div class="bar-of-view"><h1>Health</h1><${About} answer=${a} error=${error} /></div>
    <${Problem} error=${error} />
    ${a && html`
      <p class=${`verdict ${level}`}>${{ ok: '✓', warn: '▲', bad: '✕' }[level]} ${sentence}</p>
      <section class="panel"><${Table} caption="Agents: what each saw, and what became of it" param="sort" fallback="node" rows=${a.nodes || []} id=${(n) => n.node} columns=${[
        { key: 'node', label: 'Node', value: (n) => n.node, cell: (n) => n.node },
        { key: 'version', label: 'Version', value: (n) => n.version, title: '≠ marks those that differ from this gateway’s',
          cell: (n) => html`<span class=${other(n) ? 'missing' : 'dim'}>${other(n) ? '≠ ' : ''}${n.version || '–'}</span>` },
        num('generated', 'Generated', (n) => n.generated), num('delivered', 'Delivered', (n) => n.delivered), num('flight', 'On the way', (n) => n.in_flight),
        { ...num('lost', 'Lost', (n) => lostOf(n, 'exchanges')), className: (n) => (lostOf(n, 'exchanges') ? 'failing' : 'dim') },
        { ...num('records', 'Records lost', (n) => lostOf(n, 'records')), className: (n) => (lostOf(n, 'records') ? 'failing' : 'dim'), title: 'kernel records, each of which may have been part of a request' },
        { key: 'heard', label: 'Heard from', num: true, value: (n) => n.heard, cell: (n) => since(n.heard) },
      ]} />
      <p class="summary">${f.count(a.delivered)} counted${a.duplicates ? `, ${f.count(a.duplicates)} that arrived again were skipped` : ''}; ${a.balanced ? 'the two ways to count agree' : 'the two ways to count differ'}.</p></section>
      ${(a.nodes || []).some((n) => n.lost.length) && html`<section class="panel"><${Table} caption="Lost" rows=${a.nodes.flatMap((n) => n.lost.map((l) => ({ node: n.node, ...l })))} id=${(l) => `${l.node} ${l.reason} ${l.unit}`} columns=${[
        { key: 'reason', label: 'Reason', cell: (l) => `${l.reason}: ${reasons[l.reason] || ''}` }, { key: 'node', label: 'Node', cell: (l) => l.node },
        { key: 'unit', label: 'Unit', cell: (l) => l.unit }, num('count', 'Count', (l) => l.count)]} /></section>`}
      <div class="two">
        <section class="panel"><${Table} caption="Lag by partition" rows=${a.partitions || []} id=${(p) => p.partition} columns=${[
          { key: 'p', label: 'Partition', cell: (p) => p.partition },
          num('raw', 'Frames for the enricher', (p) => p.unenriched), { key: 'ra', label: 'since', num: true, cell: (p) => since(p.unenriched_at) },
          num('enr', 'for the aggregator', (p) => p.uncounted), { key: 'ea', label: 'since', num: true, cell: (p) => since(p.uncounted_at) }]} /></section>
        <section class="panel"><${Table} caption="Streams" rows=${a.streams || []} id=${(s) => s.stream} columns=${[
          { key: 's', label: 'Stream', cell: (s) => s.stream },
          num('age', 'Keeps', (s) => s.max_age_s, (v) => f.age(v * 1000)), num('size', 'at most', (s) => s.max_bytes, f.bytes),
          num('rate', 'An hour', (s) => s.bytes_per_hour, (v) => f.bytes(Math.round(v))),
          { key: 'full', label: 'Full after', num: true, className: (s) => (s.short ? 'failing' : ''), cell: (s) => (s.full_after_s ? f.age(s.full_after_s * 1000) : '–'), title: 'at the rate of the last ten minutes' }]} /></section>
      </div>
      <${Gateway} of=${a.gateway} since=${since} />`}`;
}

function Gateway({ of, since }) {
  return html`<section class="panel"><${Table} caption="This gateway’s history in memory" rows=${of.levels} id=${(l) => l.step_s} columns=${[
    { key: 'step', label: 'Windows of', cell: (l) => f.age(l.step_s * 1000) },
    { key: 'since', label: 'whole since', num: true, cell: (l) => (l.since ? f.local(l.since).replace('T', ' ') : '–') },
    { key: 'windows', label: 'Windows', num: true, cell: (l) => f.count(l.windows) },
    { key: 'bytes', label: 'Memory', num: true, cell: (l) => f.bytes(l.bytes) }]} />
    <p class="summary">${f.bytes(of.cache_bytes)} of ${f.bytes(of.cache_limit)}, ${f.count(of.series)} series, ${Math.round(100 * of.loaded)} % of the history read${' · '}${of.viewers} viewers, ${of.followers} follow requests · gateway ${of.version}, started ${since(of.started)} · nats-server ${of.nats || 'away'}</p></section>`;
}
