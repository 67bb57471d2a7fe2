// The page: its frame, its keys, and which view is shown. state.js holds what
// the address says, data.js talks to the gateway, view/ has a file a view.
import { html, render, useEffect, useLayoutEffect, useState, useRef } from './vendor/vendor.js';
import { url, go, open, mode, timeQuery } from './state.js';
import { live, gateway, skew, follow } from './data.js';
import { TimeControl, ReplayBar, runReplay, replay, pause, goLive, stretch, seek } from './clock.js';
import { Go } from './table.js';
import { head } from './state.js';
import * as f from './format.js';
import { Services } from './view/services.js';
import { Service } from './view/service.js';
import { GraphView } from './view/map.js';
import { Events } from './view/events.js';
import { Alerts } from './view/alerts.js';
import { Health } from './view/health.js';

const tabs = [['services', 'Services'], ['map', 'Map'], ['events', 'Events'], ['alerts', 'Alerts'], ['health', 'Health']];
const views = { services: Services, service: Service, map: GraphView, events: Events, alerts: Alerts, health: Health };

const keys = [
  ['1 2 3 4 5', 'Services, Map, Events, Alerts, Health'],
  ['/', 'to the filter'],
  ['↑ ↓ j k Enter', 'walk a table, open a row'],
  ['← → ↑ ↓ Enter', 'walk the heatmap or the map, open a cell'],
  ['l', 'live'],
  ['i', 'any interval'],
  ['[ ]', 'a shorter, a longer span'],
  ['r', 'replay; space pauses it, , and . step back and forth'],
  ['v', 'drawing or table'],
  ['d', 'dark or light'],
  ['Esc', 'close, go up'],
  ['?', 'these keys'],
];

function App() {
  const [help, setHelp] = useState(false);
  const view = url.value.view;
  const View = views[view];
  useEffect(() => {
    const onKey = (e) => key(e, setHelp);
    addEventListener('keydown', onKey);
    return () => removeEventListener('keydown', onKey);
  }, []);
  useEffect(() => {
    document.title = `${view === 'service' ? url.value.w : tabs.find(([v]) => v === view)?.[1]} – Weir`;
  }, [view, url.value.w]);
  return html`
    <a class="skip" href="#main" onClick=${(e) => { e.preventDefault(); document.getElementById('main').focus(); }}>To the content</a>
    <header>
      <${Go} to=${open('services')} class="brand" aria-label="Weir">
        <svg viewBox="0 0 24 24" width="20" height="20" aria-hidden="true"><path d="M2 8q5-5 10 0t10 0M2 16q5-5 10 0t10 0" fill="none" stroke="currentColor" stroke-width="2.4" stroke-linecap="round" /></svg>weir<//>
      <nav aria-label="Views">${tabs.map(([v, name], i) => html`
        <${Go} to=${open(v)} aria-current=${view === v || (v === 'services' && view === 'service') ? 'page' : undefined} title=${`${i + 1}`}>${name}${v === 'alerts' && html`<${Fires} />`}<//>`)}</nav>
      <${TimeControl} />
      <div class="tools">
        <button type="button" class="icon" onClick=${turnTheme} title="Dark or light (d)" aria-label="Dark or light">◐</button>
        <button type="button" class="icon" onClick=${() => setHelp(true)} title="Keys (?)" aria-label="Keys">?</button>
      </div>
    </header>
    <${ReplayBar} />
    <${Strip} />
    <main id="main" tabindex="-1"><${View} key=${view === 'service' ? `${url.value.ns}/${url.value.w}/${url.value.side}` : view} /></main>
    ${help && html`<${Help} close=${() => setHelp(false)} />`}`;
}

/** How many alerts fire, beside the view's name. */
function Fires() {
  const n = live.value?.alerts?.firing;
  return n > 0 && html` <span class=${`fires ${live.value.alerts.old ? 'old' : ''}`}>${n}<span class="hidden"> firing</span></span>`;
}

/** Whether what is shown can be trusted: how old it is, what is missing, what was lost. */
function Strip() {
  const [now, setNow] = useState(Date.now());
  useEffect(() => {
    const t = setInterval(() => setNow(Date.now()), 1000);
    return () => clearInterval(t);
  }, []);
  const l = live.value;
  const server = now + skew.value;
  const parts = [];
  let level = 'ok';
  const worse = (to) => { level = to === 'bad' || level === 'bad' ? 'bad' : to; };
  if (!gateway.value.up) {
    worse('bad');
    if (gateway.value.error) parts.push(html`<strong>${gateway.value.error}</strong>`);
    else parts.push(html`<strong>The gateway doesn't answer since ${f.clock(gateway.value.since)}.</strong> The page goes on by itself when it does.`);
  } else if (!l) parts.push('Connecting…');
  else if (!l.connected) {
    worse('bad');
    parts.push(html`<strong>NATS is away.</strong> What you see ends at ${f.clock(l.complete)}; the page goes on by itself when NATS is back.`);
  } else if (l.problem) {
    worse('bad');
    parts.push(html`<strong>Nothing can be read:</strong> ${l.problem}`);
  } else if (!l.known) parts.push('Nothing has been counted yet: the first window takes about 15 s.');
  else {
    const behind = server - l.complete;
    if (l.idle) parts.push('No requests now.');
    else if (behind > 60_000) {
      worse('bad');
      parts.push(html`<strong>Counting stopped ${f.age(behind)} ago,</strong> at ${f.clock(l.complete)}: see Health.`);
    } else {
      if (behind > 30_000) worse('warn');
      parts.push(html`Counted until <span class="tnum">${f.clock(l.complete)}</span>, <span class="tnum">${f.age(behind)}</span> ago`);
    }
    if (l.loaded < 1) parts.push(html`<span class="tnum">history ${Math.round(100 * l.loaded)} % read</span>`);
  }
  if (l) {
    if (l.lost_count > 0) {
      if (level === 'ok') worse('warn');
      parts.push(html`<${Go} to=${open('health')} class="loss">up to ${f.count(l.lost_count)} lost in 15 min: ${l.lost.map((x) => x.reason.replaceAll('_', ' ')).join(', ')}<//>`);
    } else parts.push('nothing lost in 15 min');
  }
  const spoken = level === 'bad' || !l ? '' : `Counting works. ${l.lost_count ? `${l.lost_count} lost.` : ''}`;
  return html`<div class=${`strip ${level}`}>
    <span class="light" aria-hidden="true"></span>
    <p>${parts.map((p, i) => html`${i > 0 && html`<span class="sep" aria-hidden="true">·</span>`}<span>${p}</span>`)}</p>
    <p class="hidden" role="status">${level === 'bad' ? (l?.connected === false ? 'NATS is away.' : 'The numbers are old.') : spoken}</p>
  </div>`;
}

function Help({ close }) {
  const dialog = useRef(null);
  useLayoutEffect(() => { dialog.current.showModal(); }, []);
  return html`<dialog ref=${dialog} class="help" onClose=${close} aria-labelledby="keys">
    <h2 id="keys">Keys</h2>
    <dl>${keys.map(([k, what]) => html`<div><dt>${k.split(' ').map((x) => html`<kbd>${x}</kbd> `)}</dt><dd>${what}</dd></div>`)}</dl>
    <p>The address holds everything you see: copy it to show it to others.</p>
    <form method="dialog"><button class="primary">Close</button></form>
  </dialog>`;
}

function turnTheme() {
  const root = document.documentElement;
  root.dataset.theme = root.dataset.theme === 'dark' ? 'light' : 'dark';
  try { localStorage.setItem('weir-theme', root.dataset.theme); } catch { /* it lasts until the page is closed */ }
  dispatchEvent(new Event('weir-theme'));
}

/** Keys that work everywhere but where text is typed. */
function key(e, setHelp) {
  if (e.ctrlKey || e.metaKey || e.altKey || e.target.closest?.('input:not([type=range]), select, textarea, dialog')) return;
  const act = {
    '?': () => setHelp(true),
    '/': () => document.querySelector('[data-filter]')?.focus(),
    l: () => goLive(),
    i: () => document.getElementById('interval').click(),
    r: () => (mode.value === 'replay' ? goLive() : replay()),
    '[': () => stretch(-1),
    ']': () => stretch(1),
    ',': () => mode.value === 'replay' && seek(head.value - 10_000),
    '.': () => mode.value === 'replay' && seek(head.value + 10_000),
    v: () => go({ table: url.value.table ? null : 1 }, { replace: true }),
    d: turnTheme,
    Escape: () => {
      if (url.value.t) go({ t: null, clo: null, chi: null });
      else if (url.value.view === 'service') go(open('services'));
    },
  }[e.key];
  if (e.key === ' ' && mode.value === 'replay' && !e.target.closest('button, a, summary')) {
    e.preventDefault();
    return pause();
  }
  if (/^[1-5]$/.test(e.key)) return go(open(tabs[e.key - 1][0]));
  if (!act) return undefined;
  e.preventDefault();
  return act();
}

follow();
runReplay();
render(html`<${App} />`, document.getElementById('app'));
