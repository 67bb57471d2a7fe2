// Latency over time as a picture of the histograms' buckets: a column a window,
// a row a bucket on a log scale, colour for how many. Drag to zoom, click or
// Enter for what is in a cell.
import { html, useEffect, useLayoutEffect, useRef, useState } from './vendor/vendor.js';
import * as f from './format.js';

export const left = 62; // the axis; charts below line up with it
const right = 12, top = 6, bottom = 22, height = 300;

// Dark to bright on dark, light to dark on light; told apart by brightness alone.
const ramps = {
  dark: ['#1a2733', '#1c3d5a', '#1f5a80', '#2b7f95', '#4fa58d', '#93c56b', '#e2d94f', '#fff3b0'],
  light: ['#e9f0f4', '#c5dcea', '#93c2dc', '#5aa2c8', '#2f7fae', '#1c5b8f', '#173a6b', '#111b42'],
};

function palette(theme) {
  const stops = ramps[theme].map((c) => [1, 3, 5].map((i) => parseInt(c.slice(i, i + 2), 16)));
  return Array.from({ length: 256 }, (_, i) => {
    const x = (i / 255) * (stops.length - 1), k = Math.min(Math.floor(x), stops.length - 2), t = x - k;
    return `rgb(${stops[k].map((v, n) => Math.round(v + (stops[k + 1][n] - v) * t)).join(' ')})`;
  });
}

/** The lower bound of bucket i in milliseconds. */
export const bound = (i, scale) => 1000 * 2 ** (i / 2 ** scale);
/** The bucket, not whole, of a duration in milliseconds. */
const place = (ms, scale) => Math.log2(ms / 1000) * 2 ** scale;

/** What is drawn where. */
function geometry(answer, width, low, high) {
  const { heat } = answer;
  let first = heat.first - 1, last = heat.first + heat.rows + 1;
  if (!heat.rows) [first, last] = [place(1, heat.scale), place(1000, heat.scale)];
  if (low) first = Math.floor(place(low, heat.scale));
  if (high) last = Math.ceil(place(high, heat.scale));
  const least = 2 ** heat.scale; // an octave at least
  if (last - first < least) [first, last] = [(first + last - least) / 2, (first + last + least) / 2];
  const w = width - left - right, h = height - top - bottom;
  const columns = Math.max(heat.columns.length, 1);
  return {
    scale: heat.scale, first, last, w, h, columns,
    x: (t) => left + ((t - answer.from) / (answer.to - answer.from)) * w,
    time: (x) => answer.from + ((x - left) / w) * (answer.to - answer.from),
    y: (bucket) => top + h - ((bucket - first) / (last - first)) * h,
    bucket: (y) => first + ((top + h - y) / h) * (last - first),
    column: (x) => Math.min(Math.max(Math.floor(((x - left) / w) * columns), 0), columns - 1),
  };
}

function counts(answer) {
  let most = 1;
  for (const c of answer.heat.columns) for (const n of c.c || []) if (n > most) most = n;
  return most;
}

function draw(canvas, answer, g, most) {
  const ratio = devicePixelRatio || 1;
  const width = canvas.clientWidth;
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== height * ratio) {
    canvas.width = Math.round(width * ratio);
    canvas.height = height * ratio;
  }
  const css = getComputedStyle(document.documentElement);
  const colour = (name) => css.getPropertyValue(`--${name}`).trim();
  const c = canvas.getContext('2d');
  c.setTransform(ratio, 0, 0, ratio, 0, 0);
  c.clearRect(0, 0, width, height);
  c.font = `11px ${css.getPropertyValue('--font')}`;
  c.lineWidth = 1;
  axes(c, answer, g, width, colour);
  c.save();
  c.beginPath();
  c.rect(left, top, g.w, g.h);
  c.clip();
  const shades = palette(document.documentElement.dataset.theme);
  const step = g.w / g.columns;
  answer.heat.columns.forEach((column, i) => {
    const x0 = Math.round(left + i * step), x1 = Math.round(left + (i + 1) * step);
    (column.c || []).forEach((n, k) => {
      if (!n) return;
      const y0 = Math.round(g.y(column.o + k + 1)), y1 = Math.round(g.y(column.o + k));
      c.fillStyle = shades[Math.round(24 + (231 * Math.log(n)) / Math.max(Math.log(most), 1e-9)) & 255] || shades[24];
      c.fillRect(x0, y0, Math.max(x1 - x0, 1), Math.max(y1 - y0, 1));
    });
  });
  lines(c, answer, g, step, colour);
  c.restore();
}

function axes(c, answer, g, width, colour) {
  c.fillStyle = colour('dim');
  c.strokeStyle = colour('line');
  c.textAlign = 'right';
  c.textBaseline = 'middle';
  let previous = Infinity;
  for (const ms of ticks(bound(g.first, g.scale), bound(g.last, g.scale))) {
    const y = Math.round(g.y(place(ms, g.scale))) + 0.5;
    if (y > top + g.h || y < top) continue;
    c.beginPath(); c.moveTo(left, y); c.lineTo(left + g.w, y); c.stroke();
    if (previous - y > 14) {
      c.fillText(f.ms(ms).replace(/\.0+(?= )/, ''), left - 8, y);
      previous = y;
    }
  }
  c.textAlign = 'center';
  c.textBaseline = 'top';
  for (const t of timeTicks(answer.from, answer.to, g.w)) {
    const x = Math.round(g.x(t)) + 0.5;
    c.beginPath(); c.moveTo(x, top + g.h); c.lineTo(x, top + g.h + 4); c.stroke();
    c.fillText(f.clock(t).slice(0, answer.to - answer.from > 600_000 ? 5 : 8), x, top + g.h + 7);
  }
  c.strokeRect(left + 0.5, top + 0.5, g.w - 1, g.h - 1);
}

/** p50 and p99 over the buckets. */
function lines(c, answer, g, step, colour) {
  for (const [values, dash] of [[answer.columns.p50_ms, []], [answer.columns.p99_ms, [5, 3]]]) {
    for (const [style, w] of [[colour('bg'), 3.5], [colour('text'), 1.4]]) {
      c.strokeStyle = style;
      c.lineWidth = w;
      c.setLineDash(dash);
      c.beginPath();
      let pen = false;
      values.forEach((v, i) => {
        if (v === null) { pen = false; return; }
        const x = left + (i + 0.5) * step, y = g.y(place(v, g.scale));
        if (pen) c.lineTo(x, y);
        else c.moveTo(x, y);
        pen = true;
      });
      c.stroke();
    }
  }
  c.setLineDash([]);
}

/** 1, 2 and 5 of each decade, or only the decades of many. */
function ticks(low, high) {
  const out = [];
  for (let d = Math.floor(Math.log10(low)); d <= Math.ceil(Math.log10(high)); d++) {
    for (const m of high / low < 300 ? [1, 2, 5] : [1]) out.push(m * 10 ** d);
  }
  return out.filter((v) => v >= low && v <= high);
}

export function timeTicks(from, to, width) {
  const steps = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600].map((s) => s * 1000);
  const step = steps.find((s) => ((to - from) / s) * 76 < width) || steps.at(-1);
  const zone = new Date(from).getTimezoneOffset() * 60_000; // ticks at whole local hours
  const out = [];
  for (let t = Math.ceil((from - zone) / step) * step + zone; t <= to; t += step) out.push(t);
  return out;
}

/** The size of an element, followed. */
export function useWidth(ref) {
  const [width, set] = useState(0);
  useLayoutEffect(() => {
    const watch = new ResizeObserver(() => set(ref.current?.clientWidth || 0));
    watch.observe(ref.current);
    set(ref.current.clientWidth);
    return () => watch.disconnect();
  }, []);
  return width;
}

/** Anew when dark turns light. */
export function useTheme() {
  const [theme, set] = useState(document.documentElement.dataset.theme);
  useEffect(() => {
    const turned = () => set(document.documentElement.dataset.theme);
    addEventListener('weir-theme', turned);
    return () => removeEventListener('weir-theme', turned);
  }, []);
  return theme;
}

/** onzoom({from, to, lo, hi}); onpick({from, to, lo, hi}) of one cell; bounds in ms. */
export function Heatmap({ answer, low, high, picked, onzoom, onpick, label }) {
  const box = useRef(null), canvas = useRef(null);
  const width = useWidth(box), theme = useTheme();
  const [at, setAt] = useState(null); // the cell under the mouse or the cursor keys
  const [drag, setDrag] = useState(null);
  const g = geometry(answer, Math.max(width, 200), low, high);
  const most = counts(answer);
  useLayoutEffect(() => { if (width) draw(canvas.current, answer, g, most); }, [answer, width, theme, low, high]);

  const cellAt = (x, y) => ({ column: g.column(x), bucket: Math.floor(g.bucket(Math.min(Math.max(y, top), top + g.h - 1))) });
  const cellOf = (cell) => {
    const start = answer.from + cell.column * answer.step_ms;
    return { from: start, to: start + answer.step_ms, lo: bound(cell.bucket, g.scale), hi: bound(cell.bucket + 1, g.scale) };
  };
  const countOf = (cell) => {
    const c = answer.heat.columns[cell.column];
    return c?.c?.[cell.bucket - c.o] || 0;
  };
  const point = (e) => {
    const r = canvas.current.getBoundingClientRect();
    return { x: Math.min(Math.max(e.clientX - r.left, left), left + g.w), y: Math.min(Math.max(e.clientY - r.top, top), top + g.h) };
  };
  const finish = (e) => {
    if (!drag) return;
    const p = point(e);
    setDrag(null);
    if (Math.hypot(p.x - drag.x, p.y - drag.y) < 5) return onpick(cellOf(cellAt(p.x, p.y)));
    const [x0, x1] = [drag.x, p.x].sort((a, b) => a - b), [y0, y1] = [drag.y, p.y].sort((a, b) => a - b);
    const zoom = { from: Math.floor(g.time(x0) / 10_000) * 10_000, to: Math.ceil(g.time(x1) / 10_000) * 10_000 };
    if (y1 - y0 > 24) Object.assign(zoom, { lo: bound(g.bucket(y1), g.scale), hi: bound(g.bucket(y0), g.scale) });
    if (x1 - x0 < 8) Object.assign(zoom, { from: null, to: null }); // only up and down
    return onzoom(zoom);
  };
  const keys = (e) => {
    const now = at || { column: g.columns - 1, bucket: Math.floor((g.first + g.last) / 2) };
    const by = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[e.key];
    if (by) {
      e.preventDefault();
      e.stopPropagation();
      const jump = e.shiftKey ? 8 : 1;
      setAt({
        column: Math.min(Math.max(now.column + by[0] * jump, 0), g.columns - 1),
        bucket: Math.min(Math.max(now.bucket + by[1] * jump, Math.floor(g.first)), Math.ceil(g.last) - 1),
      });
    } else if (e.key === 'Enter') {
      e.preventDefault();
      onpick(cellOf(now));
    } else if (e.key === '+' || e.key === '-') {
      const middle = cellOf(now).from, half = ((answer.to - answer.from) / 2) * (e.key === '+' ? 0.5 : 2);
      onzoom({ from: Math.floor((middle - half) / 10_000) * 10_000, to: Math.ceil((middle + half) / 10_000) * 10_000 });
    }
  };
  const cell = at && cellOf(at);
  const says = cell && `${f.clock(cell.from)}, ${f.ms(cell.lo)} to ${f.ms(cell.hi)}: ${f.count(countOf(at))} requests`;
  const rectangle = (c) => {
    const x = g.x(c.from), y = g.y(place(c.hi, g.scale));
    return { left: `${x}px`, top: `${Math.max(y, top)}px`, width: `${Math.max(g.x(c.to) - x, 3)}px`, height: `${Math.max(g.y(place(c.lo, g.scale)) - Math.max(y, top), 3)}px` };
  };
  return html`<div class="drawing" ref=${box}>
    <canvas ref=${canvas} class="heat" tabindex="0" role="application" aria-roledescription="heatmap" aria-label=${label}
      style=${{ height: `${height}px` }} onKeyDown=${keys}
      onPointerDown=${(e) => { if (e.button) return; canvas.current.setPointerCapture(e.pointerId); const p = point(e); setDrag({ ...p, to: p }); }}
      onPointerMove=${(e) => { const p = point(e); setAt(cellAt(p.x, p.y)); if (drag) setDrag({ ...drag, to: p }); }}
      onPointerUp=${finish} onPointerLeave=${() => !drag && setAt(null)} onBlur=${() => setAt(null)}></canvas>
    ${cell && !drag && html`<div class="cursor" style=${rectangle(cell)}></div>`}
    ${picked && html`<div class="cursor picked" style=${rectangle(picked)}></div>`}
    ${drag && html`<div class="selection" style=${{ left: `${Math.min(drag.x, drag.to.x)}px`, width: `${Math.abs(drag.to.x - drag.x)}px`,
      top: `${Math.abs(drag.to.y - drag.y) > 24 ? Math.min(drag.y, drag.to.y) : top}px`,
      height: `${Math.abs(drag.to.y - drag.y) > 24 ? Math.abs(drag.to.y - drag.y) : g.h}px` }}></div>`}
    ${cell && !drag && html`<div class="tip" style=${{ top: `${top + 4}px`, ...(g.x(cell.from) > width / 2 ? { left: `${left + 6}px` } : { right: `${right + 6}px` }) }}>
      <span class="tnum">${f.clock(cell.from)}</span> · <span class="tnum">${f.ms(cell.lo)} – ${f.ms(cell.hi)}</span> · <strong class="tnum">${f.count(countOf(at))}</strong></div>`}
    <p class="hidden" aria-live="polite">${says}</p>
  </div>`;
}
