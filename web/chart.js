// Lines over time, below the heatmap and aligned with it.
import { html, uPlot, useLayoutEffect, useRef } from './vendor/vendor.js';
import { useWidth, useTheme, left, timeTicks } from './heatmap.js';
import * as f from './format.js';

/**
 * series: [{ label, values, colour (a CSS variable's name), fill, dash, stack }].
 * Stacked series are drawn on each other, the first lowest.
 */
export function Chart({ answer, series, format, height = 110, label, onzoom }) {
  const box = useRef(null), plot = useRef(null);
  const width = useWidth(box), theme = useTheme();
  useLayoutEffect(() => {
    if (!width) return undefined;
    const css = getComputedStyle(document.documentElement);
    const colour = (name) => css.getPropertyValue(`--${name}`).trim();
    const axis = { stroke: colour('dim'), grid: { stroke: colour('line'), width: 1 }, ticks: { show: false }, font: `11px ${css.getPropertyValue('--font')}` };
    plot.current = new uPlot({
      width, height,
      padding: [6, 12, 0, 0],
      legend: { show: false },
      cursor: { y: false, sync: { key: 'weir' }, drag: { x: true, y: false, setScale: false }, points: { size: 5 } },
      scales: { x: { time: false, range: () => [answer.from, answer.to] }, y: { range: (_, __, most) => [0, most > 0 ? most * 1.08 : 1] } },
      axes: [
        { ...axis, grid: { show: false }, size: 22, gap: 3, splits: (u) => timeTicks(answer.from, answer.to, u.bbox.width / devicePixelRatio),
          values: (_, ticks) => ticks.map((t) => f.clock(t).slice(0, answer.to - answer.from > 600_000 ? 5 : 8)) },
        { ...axis, size: left, gap: 8, space: 26, values: (_, ticks) => ticks.map(format) },
      ],
      series: [{}, ...series.map((s) => ({
        label: s.label, stroke: colour(s.colour), width: 1.4, dash: s.dash, spanGaps: false,
        fill: s.fill ? `color-mix(in srgb, ${colour(s.colour)} ${s.fill}%, transparent)` : undefined,
        points: { show: false },
      }))],
      bands: series.slice(1).flatMap((s, i) => (s.stack ? [{ series: [i + 2, i + 1] }] : [])),
      hooks: {
        setSelect: [(u) => {
          if (u.select.width > 4) onzoom?.({ from: Math.floor(u.posToVal(u.select.left, 'x') / 1e4) * 1e4, to: Math.ceil(u.posToVal(u.select.left + u.select.width, 'x') / 1e4) * 1e4 });
          u.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
        }],
        setCursor: [(u) => tell(u, box.current, series, format)],
      },
    }, data(answer, series), box.current);
    return () => { plot.current.destroy(); plot.current = null; };
  }, [width, theme, answer]);
  return html`<div class="drawing chart" ref=${box} role="img" aria-label=${label}><div class="tip" hidden></div></div>`;
}

function data(answer, series) {
  const t = series[0].values.map((_, i) => answer.from + (i + 0.5) * answer.step_ms);
  let below = t.map(() => 0);
  return [t, ...series.map((s) => {
    if (!s.stack) return s.values;
    below = s.values.map((v, i) => (v === null ? null : v + (below[i] ?? 0)));
    return below;
  })];
}

function tell(u, box, series, format) {
  const tip = box.querySelector('.tip');
  const i = u.cursor.idx;
  tip.hidden = i === null || i === undefined || u.cursor.left < 0;
  if (tip.hidden) return;
  tip.textContent = `${f.clock(u.data[0][i])} · ${series.map((s) => `${s.label} ${s.values[i] === null ? '–' : format(s.values[i])}`).join(' · ')}`;
  const far = u.cursor.left > u.over.clientWidth / 2;
  tip.style.left = far ? `${left + 6}px` : 'auto';
  tip.style.right = far ? 'auto' : '18px';
  tip.style.top = '4px';
}
