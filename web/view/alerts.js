// What fires, what is silenced, what fired in the last day, and what is left of the error budgets.
import { html, useMemo } from '../vendor/vendor.js';
import { url, go, mode, open, timeQuery, workload } from '../state.js';
import { skew, useAnswer } from '../data.js';
import { Table, Go } from '../table.js';
import { Timeline } from '../timeline.js';
import { Problem } from './about.js';
import * as f from '../format.js';

const states = { firing: '●', silenced: '◌', pending: '○', resolved: '✓' };
const stateOf = (a) => (a.silenced ? 'silenced' : a.state);
/** Since when it is in its state. */
const stateSince = (a) => a.until || a.since;
const hour = 36e5, minute = 6e4;

/** What the gateway is asked for: the last 24 hours unless a time is chosen. */
const wanted = () => (mode.value === 'live' ? '' : mode.value === 'replay' ? `to=${new URLSearchParams(timeQuery.value).get('to')}` : timeQuery.value);

/** The state of the services when something happened. */
const then = (t) => open('services', { from: t - 5 * minute, to: t + minute, at: null });

/** What an alert is about, around the time that it began. */
function place(a) {
  const time = { from: a.since - 30 * minute, to: a.since + 5 * minute, at: null };
  const l = a.labels;
  return l.workload ? { ...workload({ namespace: l.namespace, workload: l.workload, kind: l.workload_kind }), ...time } : open('services', time);
}

const own = (labels) => Object.entries(labels).filter(([k]) => k !== 'alertname' && k !== 'severity').sort(([a], [b]) => (a < b ? -1 : 1));
const Severity = ({ of }) => html`<span class=${`severity ${of === 'page' || of === 'critical' ? 'failing' : ''}`}>${of || '–'}</span>`;
const State = ({ of }) => html`<span class=${`alert-${of}`}><span aria-hidden="true">${states[of]}</span> ${of === 'resolved' ? 'over' : of}</span>`;
const number = (v) => (typeof v === 'number' ? String(Number(v.toPrecision(4))) : v);

/** What is said of an alert: its summary, the labels that tell it from others, and who silenced it. */
const aboutOf = (silences) => ({
  key: 'about', label: 'Summary and labels', grow: true, className: () => 'said',
  cell: (a) => html`<span class="wrap" title=${a.description}>${a.summary}<span class="labels">${own(a.labels).map(([k, v]) => html`<span>${k}=<b>${v}</b></span> `)}</span>
    ${a.silenced_by?.map((id) => html`<${SilencedBy} id=${id} silences=${silences} />`)}</span>`,
});
const none = [];
const about = aboutOf(none);

/** Until when and by whom, as far as it is known. */
function SilencedBy({ id, silences }) {
  const s = silences.find((x) => x.id === id);
  return html`<span class="labels" title=${s?.comment}>silenced ${s ? html`until <b class="tnum">${when(s.until)}</b>${s.author && html` by <b>${s.author}</b>`}` : html`by <b>${id}</b>`}</span>`;
}

/** How long in whole days or hours, if it is. */
const span = (s) => (s % 86_400 === 0 ? `${s / 86_400} d` : s % 3600 === 0 ? `${s / 3600} h` : f.age(1000 * s));

/** A time of the last day, with its date where that isn't today. */
const when = (t) => f.interval(t, t).split(' – ')[0];

const words = () => (url.value.q || '').toLowerCase().split(/\s+/).filter(Boolean);
const matches = (a) => {
  const text = `${a.name} ${a.severity} ${stateOf(a)} ${a.summary} ${own(a.labels).map((l) => l.join('=')).join(' ')} ${a.silenced_by?.join(' ') ?? ''}`.toLowerCase();
  return words().every((w) => text.includes(w));
};

export function Alerts() {
  const asked = wanted();
  const { answer, error } = useAnswer(`alerts?${asked}`);
  const silences = useAnswer(mode.value === 'live' ? 'silences' : null); // of the past they aren't known
  return html`
    <div class="bar-of-view">
      <h1>Alerts</h1>
      <label class="filter"><span class="hidden">Filter</span>
        <input type="search" data-filter placeholder="Filter by name or label  /" value=${url.value.q || ''}
          onInput=${(e) => go({ q: e.target.value }, { replace: true })} onKeyDown=${(e) => e.key === 'Escape' && e.target.blur()} /></label>
      <button type="button" aria-pressed=${Boolean(url.value.table)} onClick=${() => go({ table: url.value.table ? null : 1 }, { replace: true })} title="drawing or table (v)">As a table</button>
      <${Evaluated} of=${answer} error=${error} />
    </div>
    <${Problem} error=${error} />
    ${answer && (answer.at || answer.history.length ? html`
      <${Now} of=${answer} silences=${silences.answer?.rows ?? none} />
      ${mode.value === 'live' && html`<${Silences} of=${silences} />`}
      <${Budgets} asked=${asked.replace(/from=\d+&/, '')} />
      <${History} of=${answer} />`
      : html`<p class="nothing">No alerter has evaluated rules of late. <code>weir up --rules FILE</code> or <code>weir alerter</code> does.</p>`)}`;
}

/** Of when it is, and what can't be relied on. */
function Evaluated({ of, error }) {
  if (!of) return html`<p class="about">${error ? '' : 'Loading…'}</p>`;
  return html`<p class="about">
    ${of.past ? html`<span class="tnum">as of ${when(of.to)}</span>` : of.at > 0 && html`<span class="tnum">${of.groups} ${of.groups === 1 ? 'group' : 'groups'} of rules, evaluated as of ${f.clock(of.at)}</span>`}
    ${of.old && html`<span class="missing">no alerter is at work since then</span>`}
    ${of.missing && html`<span class="missing">${of.missing}</span>`}</p>`;
}

const activeColumns = (now, silences) => [
  { key: 'name', label: 'Alert', value: (a) => a.name, cell: (a) => a.name },
  { key: 'state', label: 'State', value: (a) => Object.keys(states).indexOf(stateOf(a)), cell: (a) => html`<${State} of=${stateOf(a)} />` },
  { key: 'since', label: 'Since', num: true, value: stateSince, cell: (a) => html`<span class="tnum" title=${f.local(stateSince(a)).replace('T', ' ')}>${f.age(now - stateSince(a))}</span>` },
  { key: 'severity', label: 'Severity', value: (a) => a.severity, cell: (a) => html`<${Severity} of=${a.severity} />` },
  { key: 'value', label: 'Value', num: true, value: (a) => Number(a.value), cell: (a) => number(a.value) },
  aboutOf(silences),
];

function Now({ of, silences }) {
  const rows = of.active.filter(matches);
  const are = (state) => rows.filter((a) => stateOf(a) === state).length;
  const others = ['silenced', 'pending'].filter((s) => are(s)).map((s) => `, ${are(s)} ${s}`).join('');
  const columns = useMemo(() => activeColumns(of.past ? of.to : Date.now() + skew.value, silences), [of, silences]);
  return html`<section class="panel" aria-labelledby="now">
    <div class="top"><h2 id="now">${of.past ? `Fired ${when(of.to)}` : 'Now'}</h2>
      <span class="dim" role="status">${are('firing')} firing${others}</span></div>
    ${rows.length ? html`<${Table} className="alerts" param="sort" fallback="state" rows=${rows} id=${(a) => `${a.group} ${a.rule} ${JSON.stringify(a.labels)} ${a.since}`} link=${place} columns=${columns} />` : html`<p class="dim">${of.active.length ? 'Nothing of it has these words.' : 'Nothing fires.'}</p>`}
    ${of.failing.map((r) => html`<p class="problem" role="alert">Rule ${r.rule} of ${r.group}: ${r.error}</p>`)}
  </section>`;
}

const silenceColumns = (now) => [
  { key: 'matchers', label: 'Silence', className: () => 'said', cell: (s) => html`<span class="matchers">${s.matchers.map((m) => html`<span>${m}</span> `)}</span>` },
  { key: 'alerts', label: 'Silences now', num: true, title: 'how many alerts fire and are silenced by it, by the last evaluation', cell: (s) => f.count(s.alerts) },
  { key: 'until', label: 'Until', num: true, cell: (s) => html`<span class="tnum">${when(s.until)}</span>` },
  { key: 'left', label: 'Left', num: true, cell: (s) => (s.until > now ? f.age(s.until - now) : html`<span title="the next evaluation takes note of it">over</span>`) },
  { key: 'comment', label: 'Comment', grow: true, className: () => 'said', cell: (s) => html`<span class="wrap">${s.comment}
    <span class="labels">${s.author && html`<span>by <b>${s.author}</b></span> `}<span>weir alerts unsilence <b>${s.id}</b></span></span></span>` },
];

/** A silence leads to the alerts that it silences: its ID is among their words. */
function Silences({ of: { answer, error } }) {
  const columns = useMemo(() => silenceColumns(Date.now() + skew.value), [answer]);
  if (!answer?.rows.length && !answer?.missing && !error) return null;
  const rows = (answer?.rows ?? []).filter((s) => words().every((w) => `${s.id} ${s.matchers.join(' ')} ${s.author} ${s.comment}`.toLowerCase().includes(w)));
  return html`<section class="panel" aria-labelledby="silences">
    <div class="top"><h2 id="silences">Silences</h2>${answer?.missing && html`<span class="missing">${answer.missing}</span>`}</div>
    <${Problem} error=${error} />
    ${rows.length ? html`<${Table} className="silences" rows=${rows} id=${(s) => s.id} link=${(s) => ({ q: s.id })} columns=${columns} />` : answer?.rows.length > 0 && html`<p class="dim">None of ${answer.rows.length} has these words.</p>`}
  </section>`;
}

const share = (v) => (v === null ? '–' : f.percent(v));
const budgetColumns = (short, long) => [
  { key: 'slo', label: 'Objective', cell: (r) => r.slo },
  { key: 'text', label: 'What is asked for', grow: true, className: () => 'said', cell: (r) => html`<span class="wrap">${r.text}${r.error && html` <span class="failing">${r.error}</span>`}</span>` },
  { key: 'now', label: `Bad, ${short}`, num: true, cell: (r) => share(r.ratio_now) },
  { key: 'burn', label: 'Burn rate', num: true, title: 'how many times as fast as it may be the budget is used up now', className: (r) => (r.burn > 1 ? 'failing' : ''),
    cell: (r) => (r.burn === null ? '–' : `${f.rate(r.burn)}×`) },
  { key: 'ratio', label: `Bad, ${long}`, num: true, cell: (r) => share(r.ratio) },
  { key: 'used', label: `Budget used, ${long}`, num: true, title: 'of the bad requests that the target allows in this time; the history is no longer',
    className: (r) => (r.used > 1 ? 'failing' : ''), cell: (r) => html`<${Used} of=${r.used} />` },
];

function Budgets({ asked }) {
  const { answer: b, error } = useAnswer(`budgets?${asked}`);
  const long = b && span(b.long_s), short = b && span(b.now_s);
  const columns = useMemo(() => budgetColumns(short, long), [short, long]);
  if (!b?.rows.length && !b?.left_out && !error) return null;
  return html`<section class="panel" aria-labelledby="budgets">
    <div class="top"><h2 id="budgets">Error budgets</h2>${b && html`<span class="dim">worked out as of <span class="tnum">${f.clock(b.at)}</span>, over the last ${short === long ? long : `${short} and ${long}`}</span>`}
      ${b?.missing && html`<span class="missing">${b.missing}</span>`}</div>
    <${Problem} error=${error} />
    ${b?.rows.length > 0 && html`<${Table} className="budgets" rows=${b.rows} id=${(r) => JSON.stringify(r.labels)}
      link=${(r) => (r.labels.workload ? workload({ namespace: r.labels.namespace, workload: r.labels.workload }) : open('services'))} columns=${columns} />`}
    ${b?.left_out > 0 && html`<p class="summary">${b.left_out} more are left out.</p>`}
  </section>`;
}

function Used({ of }) {
  if (of === null) return '–';
  return html`<span class="share used"><span class="bar" aria-hidden="true"><span style=${{ width: `${Math.min(100, 100 * of)}%` }}></span></span>${f.percent(of)}</span>`;
}

const changeColumns = [
  { key: 't', label: 'When', cell: (c) => html`<span class="tnum" title="the services at that time">${when(c.t)}</span>` },
  { key: 'change', label: 'Change', cell: (c) => html`<span title=${c.silenced ? 'webhooks heard nothing of it' : undefined}><${State} of=${c.change} /></span>` },
  { key: 'name', label: 'Alert', cell: (c) => html`<${Go} to=${place(c)}>${c.name}<//>` },
  { key: 'severity', label: 'Severity', cell: (c) => html`<${Severity} of=${c.severity} />` },
  { key: 'for', label: 'Fired for', num: true, cell: (c) => (c.change === 'resolved' ? f.age(c.until - c.since) : '') },
  about,
];

function History({ of }) {
  const all = useMemo(() => of.history.flatMap((a) => [
    { ...a, t: a.since, change: a.silenced ? 'silenced' : 'firing' },
    ...(a.until ? [{ ...a, t: a.until, change: 'resolved' }] : []),
  ]).filter((c) => c.t >= of.from && c.t <= of.to).sort((a, b) => b.t - a.t), [of]);
  const fired = of.history.filter(matches), changes = all.filter(matches);
  const label = of.to - of.from === 24 * hour ? 'The 24 hours before' : f.interval(of.from, of.to);
  return html`<section class="panel" aria-labelledby="history">
    <div class="top"><h2 id="history">${mode.value === 'live' ? 'The last 24 hours' : label}</h2>
      <span class="dim">${changes.length} ${changes.length === 1 ? 'change' : 'changes'}${of.left_out ? `; ${of.left_out} older alerts are left out` : ''}</span></div>
    ${!url.value.table && fired.length > 0 && html`<${Timeline} rows=${fired} from=${of.from} to=${of.to} link=${place} />`}
    ${changes.length > 0 ? html`<${Table} className="changes" rows=${changes} id=${(c) => `${c.t} ${c.change} ${c.group} ${c.rule} ${JSON.stringify(c.labels)}`} link=${(c) => then(c.t)} columns=${changeColumns} />` : html`<p class="dim">Nothing began to fire, and nothing ended.</p>`}
  </section>`;
}
