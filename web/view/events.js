// Single requests: as they happen, or of the past.
import { html, useEffect, useRef, useState } from '../vendor/vendor.js';
import { url, go, mode, head, last, narrowed, spanMillis, workload } from '../state.js';
import { gateway, live, why } from '../data.js';
import { Table, Go } from '../table.js';
import { Filter } from '../cel.js';
import { Narrowed, Problem } from './about.js';
import * as f from '../format.js';

const most = 200; // shown at once
const passing = 50; // of them while they pass by: nobody reads a hundred new ones a second, and drawing them takes time from the keys
const step = 2000; // a replay asks for so much at a time

const wanted = (u) => {
  const q = narrowed();
  if (u.filter) q.set('filter', u.filter);
  return q.toString();
};

/** Requests of an address' time and filter, and how the search went. */
function useEvents(held) {
  const [state, set] = useState({ events: [], end: null, error: null, matched: 0, skipped: 0, searching: false });
  const u = url.value;
  const what = wanted(u);
  const m = mode.value;
  const playing = m === 'replay';
  const position = playing ? Math.floor(head.value / step) * step : 0;
  const before = useRef({ position: 0, what: '' });
  const away = live.value?.connected === false || !gateway.value.up;
  useEffect(() => {
    if (away) return undefined;
    let time = '', fresh = true;
    if (m === 'interval') time = `from=${u.from}&to=${u.to}&limit=${most}`;
    if (playing) { // what came since the position before, or the last span
      const b = before.current;
      fresh = b.what !== what || position <= b.position || position - b.position > 20 * step;
      time = `from=${fresh ? position - spanMillis[last.value] : b.position}&to=${position}&limit=${fresh ? 200 : 100}`;
      before.current = { position, what };
    }
    const s = new EventSource(`api/events?${[time, what].filter(Boolean).join('&')}`);
    if (fresh) set({ events: [], end: null, error: null, matched: 0, skipped: 0, searching: m !== 'live' });
    const add = (events, extra) => set((old) => ({
      ...old, ...extra(old), events: merge(old.events, events),
    }));
    s.addEventListener('events', (e) => add(JSON.parse(e.data), () => ({})));
    s.addEventListener('live', (e) => {
      const batch = JSON.parse(e.data);
      if (held.current) return set((old) => ({ ...old, matched: old.matched + batch.matched }));
      return add(batch.events, (old) => ({ matched: old.matched + batch.matched, skipped: old.skipped + batch.skipped, error: null }));
    });
    s.addEventListener('end', (e) => { s.close(); set((old) => ({ ...old, end: JSON.parse(e.data), searching: false })); });
    s.addEventListener('failed', (e) => { s.close(); set((old) => ({ ...old, error: new Error(JSON.parse(e.data).error), searching: false })); });
    s.onerror = () => {
      if (s.readyState !== EventSource.CLOSED) return; // it connects again by itself
      why(s.url).then((error) => error && set((old) => ({ ...old, error, searching: false })));
    };
    return () => s.close();
  }, [what, m, u.from, u.to, position, away, playing && last.value]);
  return state;
}

/** The newest first, each once, not more than are kept. */
function merge(old, more) {
  const all = [...more, ...old].sort((a, b) => (a.time < b.time ? 1 : a.time > b.time ? -1 : 0));
  return all.slice(0, most);
}

const idOf = (e) => `${e.time} ${e.side} ${e.source.address}:${e.source.port} ${e.destination.port}`;
const endName = (e) => (e.workload ? f.title(e) : e.address);

export function Events() {
  const u = url.value;
  const held = useRef(false);
  const [paused, setPaused] = useState(false);
  held.current = paused;
  const { events, end, error, matched, skipped, searching } = useEvents(held);
  const open = events.find((e) => idOf(e) === u.event);
  const isLive = mode.value === 'live';
  const passes = isLive && !paused;
  return html`
    <div class="bar-of-view">
      <h1>Events</h1>
      <${Filter} value=${u.filter || ''} onapply=${(filter) => go({ filter })} />
      <${Narrowed} side />
      ${isLive && html`<button type="button" aria-pressed=${paused} onClick=${() => setPaused(!paused)}>${paused ? 'Go on' : 'Hold'}</button>`}
      <p class="about">${isLive ? html`<span class="tnum">${f.count(matched)}</span> since it was opened${skipped > 0 ? html`<span class="missing">${f.count(skipped)} not looked at: too fast for this browser</span>` : ''}`
        : searching ? 'Searching…' : end && html`<span class="tnum">${f.count(events.length)}</span> shown${end.full ? ', the newest' : ''}, looked back to <span class="tnum">${f.clock(end.until)}</span>`}
        ${end?.missing && html`<span class="missing">${end.missing}</span>`}</p>
    </div>
    ${error?.column === undefined && html`<${Problem} error=${error} />`}
    ${open && html`<${Detail} event=${open} />`}
    ${events.length ? html`<${Table} className="events" rows=${passes ? events.slice(0, passing) : events} id=${passes ? undefined : idOf} onrow=${(e) => go({ event: u.event === idOf(e) ? null : idOf(e) }, { replace: true })}
      selected=${(e) => idOf(e) === u.event} columns=${columns} />`
      : !error && html`<p class="nothing">${isLive ? 'Waiting for requests…' : searching ? 'Searching…' : 'No such request in this interval. Single requests are kept for four hours.'}</p>`}`;
}

function Parts({ of }) {
  const whole = of.duration_ms || 1;
  return html`<span class="parts" title=${`wait ${f.ms(of.wait_ms)}, processing ${f.ms(of.processing_ms)}, transfer ${f.ms(of.transfer_ms)}`}>
    ${['wait', 'processing', 'transfer'].map((p) => html`<i class=${p} style=${{ width: `${(100 * of[`${p}_ms`]) / whole}%` }}></i>`)}</span>`;
}

const columns = [
  { key: 'time', label: 'Ended', cell: (e) => html`<span class="tnum">${f.clock(e.time, true)}</span>` },
  { key: 'side', label: 'Side', cell: (e) => html`<span class="dim">${e.side}</span>` },
  { key: 'ends', label: 'From → to', cell: (e) => html`${endName(e.source)} <span class="dim">→</span> ${endName(e.destination)}` },
  { key: 'operation', label: 'Operation', grow: true, cell: (e) => e.operation },
  { key: 'status', label: 'Status', num: true, cell: (e) => html`<span class=${`code-${Math.floor(e.status / 100)}`}>${e.status || e.error}</span>` },
  { key: 'duration', label: 'Duration', num: true, cell: (e) => html`<strong>${f.ms(e.duration_ms)}</strong>` },
  { key: 'parts', label: 'Wait, processing, transfer', cell: (e) => html`<${Parts} of=${e} />` },
];

function Detail({ event: e }) {
  const item = (name, value) => (value === '' || value === undefined || value === null ? null : html`<div><dt>${name}</dt><dd>${value}</dd></div>`);
  const end = (w) => html`${w.workload ? html`<${Go} to=${workload(w, w === e.source ? 'client' : 'server')}>${f.title(w)}<//>` : ''} <span class="dim">${w.pod ? `pod ${w.pod} ` : ''}${w.service ? `service ${w.service} ` : ''}${w.address}:${w.port}</span>`;
  return html`<section class="detail" aria-label="One request">
    <div class="top"><h2>${e.operation} <span class=${e.error ? 'failing' : 'dim'}>${e.status || ''} ${e.error}</span></h2></div>
    <div class="long parts-long" role="img" aria-label=${`wait ${f.ms(e.wait_ms)}, processing ${f.ms(e.processing_ms)}, transfer ${f.ms(e.transfer_ms)}`}>
      ${['wait', 'processing', 'transfer'].map((p) => html`<i class=${`c-${p}`} style=${{ width: `${(100 * e[`${p}_ms`]) / (e.duration_ms || 1)}%`, background: 'var(--c)' }}></i>`)}</div>
    <p class="legend"><span class="c-wait">wait ${f.ms(e.wait_ms)}</span><span class="c-processing">processing ${f.ms(e.processing_ms)}</span><span class="c-transfer">transfer ${f.ms(e.transfer_ms)}</span><strong>${f.ms(e.duration_ms)}</strong></p>
    <dl>${item('Ended', html`<span class="tnum">${f.local(e.time).replace('T', ' ')}.${f.clock(e.time, true).slice(-3)}</span>`)}${item('Seen by', `the ${e.side}`)}
      ${item('From', end(e.source))}${item('To', end(e.destination))}
      ${item('Method', e.method)}${item('Path', e.path)}${item('Protocol', e.protocol)}
      ${item('Request', f.bytes(e.request_bytes))}${item('Response', f.bytes(e.response_bytes))}
      ${item('Process', `${e.process.name} ${e.process.pid || ''}`)}${item('Node', e.node)}</dl>
  </section>`;
}
