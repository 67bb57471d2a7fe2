// The one time control: live, an interval, and replay of the past.
import { html, effect, useEffect, useState } from './vendor/vendor.js';
import { url, go, mode, last, spans, spanMillis, head, WINDOW } from './state.js';
import { live, skew } from './data.js';
import * as f from './format.js';

export const speeds = [1, 2, 5, 10, 30, 60];
const serverNow = () => Date.now() + skew.value;
const round = (t) => Math.floor(t / WINDOW) * WINDOW;

/** What a replay runs over: the interval it was started from, or what is kept. */
function bounds() {
  const now = serverNow();
  const from = Number(url.value.from) || Math.max(live.value?.since || 0, now - 864e5);
  const to = Number(url.value.to) || now;
  return { from, to: Math.max(to, from + WINDOW) };
}

/** Runs a replay while its address says so. */
export function runReplay() {
  let timer = 0, before = 0, kept = 0;
  effect(() => {
    const running = mode.value === 'replay' && !url.value.paused;
    clearInterval(timer);
    if (!running) return;
    const speed = Number(url.value.speed) || 10;
    before = performance.now();
    if (!head.peek()) head.value = Number(url.value.at);
    timer = setInterval(() => {
      const now = performance.now();
      const to = bounds().to;
      const at = Math.min(head.peek() + (now - before) * speed, to);
      before = now;
      head.value = at;
      const end = at >= to;
      if (end || now - kept > 1000) { // browsers allow only so many changes of the address
        kept = now;
        go({ at: Math.round(at), ...(end ? { paused: 1 } : {}) }, { replace: true });
      }
    }, 200);
  });
}

export function replay(patch = {}) {
  const { from } = bounds();
  const span = spanMillis[last.value];
  const at = Math.max(from, round(mode.value === 'interval' ? from + WINDOW : serverNow() - Math.max(span, 3e5)));
  head.value = at;
  go({ at: Math.round(at), speed: url.value.speed || 10, paused: null, ...patch });
}

export function seek(at) {
  const { from, to } = bounds();
  head.value = Math.min(Math.max(at, from), to);
  go({ at: Math.round(head.value) }, { replace: true });
}

export const goLive = (span) => go({ last: span || last.value, from: null, to: null, at: null, speed: null, paused: null });
export const pause = () => go({ paused: url.value.paused ? null : 1, at: Math.round(head.value) }, { replace: true });

/** The next shorter or longer span. */
export function stretch(by) {
  const i = Math.min(Math.max(spans.indexOf(last.value) + by, 0), spans.length - 1);
  if (mode.value === 'interval') goLive(spans[i]);
  else go({ last: spans[i] });
}

export function TimeControl() {
  const [custom, setCustom] = useState(false);
  const m = mode.value;
  return html`<div class="time" role="group" aria-label="Time">
    <button type="button" class=${`live ${m === 'live' ? 'on' : ''}`} aria-pressed=${m === 'live'} onClick=${() => goLive()} title="Now (l)">
      <span class="dot" aria-hidden="true"></span>Live</button>
    <div class="group" role="group" aria-label="Span">${spans.map((s) => html`
      <button type="button" aria-pressed=${m !== 'interval' && last.value === s} onClick=${() => (m === 'replay' ? go({ last: s }) : goLive(s))}>${s}</button>`)}</div>
    <button type="button" aria-pressed=${m === 'interval'} aria-expanded=${custom} onClick=${() => setCustom(!custom)} title="Any interval (i)" id="interval">
      ${m === 'interval' ? html`<span class="tnum">${f.interval(Number(url.value.from), Number(url.value.to))}</span>` : 'Interval…'}</button>
    <button type="button" aria-pressed=${m === 'replay'} onClick=${() => (m === 'replay' ? goLive() : replay())} title="Play the past (r)">
      Replay</button>
    ${custom && html`<${Interval} close=${() => setCustom(false)} />`}
  </div>`;
}

function Interval({ close }) {
  // Once, or the next second would overwrite what is being typed.
  const [{ from, to }] = useState(() => (mode.value === 'interval' ? bounds() : { from: serverNow() - spanMillis[last.value], to: serverNow() }));
  const [error, setError] = useState('');
  useEffect(() => { document.querySelector('.interval input')?.focus(); }, []);
  const submit = (e) => {
    e.preventDefault();
    const [a, b] = ['from', 'to'].map((n) => new Date(e.target.elements[n].value).getTime());
    if (Number.isNaN(a) || Number.isNaN(b)) return setError('Give both as a date and a time.');
    if (a >= b) return setError('The start must be before the end.');
    close();
    return go({ from: a, to: b, at: null, speed: null, paused: null });
  };
  return html`<form class="interval" onSubmit=${submit} onKeyDown=${(e) => { if (e.key === 'Escape') { e.stopPropagation(); close(); document.getElementById('interval')?.focus(); } }}>
    <label>From <input name="from" type="datetime-local" step="1" value=${f.local(from)} /></label>
    <label>To <input name="to" type="datetime-local" step="1" value=${f.local(to)} /></label>
    <button type="submit" class="primary">Show</button>
    ${error && html`<p class="error" role="alert">${error}</p>`}
  </form>`;
}

/**
 * The bar of a replay: play, speed, and where it is. The slider's steps are
 * windows: less than half of one behind the start it says nothing of Home.
 */
export function ReplayBar() {
  if (mode.value !== 'replay') return null;
  const { from, to } = bounds();
  const paused = Boolean(url.value.paused);
  const at = head.value;
  return html`<div class="replay" role="group" aria-label="Replay">
    <button type="button" onClick=${pause} aria-label=${paused ? 'Play' : 'Pause'} title="space">${paused ? '▶' : '❚❚'}</button>
    <label class="speed">Speed <select value=${url.value.speed || '10'} onChange=${(e) => go({ speed: e.target.value, at: Math.round(head.value) }, { replace: true })}>
      ${speeds.map((s) => html`<option value=${s}>${s}×</option>`)}</select></label>
    <span class="tnum">${f.clock(from)}</span>
    <input type="range" min=${from} max=${to} step=${WINDOW} value=${at} aria-label="Position" aria-valuetext=${f.clock(at)}
      onInput=${(e) => seek(Number(e.target.value))} onKeyDown=${(e) => e.key === 'Home' && seek(from)} />
    <span class="tnum">${f.clock(to)}</span>
    <output class="at tnum">${f.local(at).replace('T', ' ')}</output>
  </div>`;
}
