// Alerts over time: a line each, a bar for each time that it fired.
import { html, useRef } from './vendor/vendor.js';
import { useWidth, timeTicks } from './heatmap.js';
import { Go } from './table.js';
import * as f from './format.js';

const most = 30; // lines
const row = 20, left = 260, right = 8, axis = 18;

/** rows: [{ name, labels, severity, silenced, since, until (0 or none while it fires) }]; link(row) is where a bar leads. */
export function Timeline({ rows, from, to, link }) {
  const box = useRef(null);
  const width = useWidth(box);
  const lines = new Map();
  for (const a of rows) {
    const key = JSON.stringify([a.name, Object.entries(a.labels).sort()]);
    lines.set(key, [...(lines.get(key) || []), a]);
  }
  const shown = [...lines.values()].slice(0, most);
  const names = Math.min(left, width * 0.3);
  const x = (t) => names + ((Math.min(Math.max(t, from), to) - from) / (to - from)) * (width - names - right);
  const height = shown.length * row + axis;
  return html`<div class="drawing timeline" ref=${box}>${width > 0 && html`
    <svg width=${width} height=${height} role="group" aria-label=${`${rows.length} times that alerts fired, from ${f.interval(from, to)}`}>
      ${timeTicks(from, to, width - names).filter((t) => x(t) < width - 20).map((t) => html`<g class="tick"><line x1=${x(t)} x2=${x(t)} y1="0" y2=${height - axis} /><text x=${x(t)} y=${height - 4}>${f.clock(t).slice(0, 5)}</text></g>`)}
      ${shown.map((line, i) => html`<g>
        <text class="who" x="0" y=${i * row + 14}><title>${title(line[0])}</title>${short(title(line[0]), names - 10)}</text>
        ${line.map((a) => {
          const x1 = x(a.since), x2 = x(a.until || to);
          return html`<${Go} to=${link(a)} class=${a.silenced ? 'silenced' : a.until ? 'ended' : 'on'} aria-label=${`${title(a)}, fired from ${f.clock(a.since)} ${a.until ? `to ${f.clock(a.until)}` : 'until now'}${a.silenced ? ', silenced' : ''}`}>
            <title>${`${title(a)}: ${f.interval(a.since, a.until || to)}, ${f.age((a.until || to) - a.since)}${a.silenced ? ', silenced' : ''}`}</title>
            <rect x=${x1} y=${i * row + 4} width=${Math.max(3, x2 - x1)} height="12" rx="2" /><//>`;
        })}</g>`)}
    </svg>`}
    ${lines.size > most && html`<p class="summary">${lines.size - most} more alerts are in the list below.</p>`}</div>`;
}

const title = (a) => [a.name, a.labels.workload || a.labels.slo || a.labels.node, a.severity && `(${a.severity})`].filter(Boolean).join(' ');
const short = (text, width) => {
  const most = Math.max(6, Math.floor(width / 6.6) - 1);
  return text.length > most ? `${text.slice(0, most - 1)}…` : text;
};
