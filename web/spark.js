// A row's course in a few pixels.
import { html, useMemo } from './vendor/vendor.js';

const width = 96, height = 20;

/**
 * values may hold null where nothing was measured: the line has a gap there. It
 * is drawn once an answer, not with every key that is typed above it.
 */
export function Spark({ values, label, kind = '' }) {
  return useMemo(() => drawing(values, label, kind), [values, label, kind]);
}

function drawing(values, label, kind) {
  if (!values?.length) return html`<svg class="spark" width=${width} height=${height} aria-hidden="true"></svg>`;
  const most = Math.max(...values.map((v) => v ?? 0), 1e-9);
  const x = (i) => (values.length < 2 ? width / 2 : 1 + (i * (width - 2)) / (values.length - 1));
  const y = (v) => height - 1.5 - (v / most) * (height - 4);
  let line = '', area = '', start = -1;
  const close = (end) => {
    if (start >= 0) area += `L${x(end).toFixed(1)} ${height}L${x(start).toFixed(1)} ${height}Z`;
    start = -1;
  };
  values.forEach((v, i) => {
    if (v === null) return close(i - 1);
    const point = `${x(i).toFixed(1)} ${y(v).toFixed(1)}`;
    line += (start < 0 ? 'M' : 'L') + point;
    area += start < 0 ? `M${point}` : `L${point}`;
    if (start < 0) start = i;
  });
  close(values.length - 1);
  return html`<svg class=${`spark ${kind}`} width=${width} height=${height} role="img" aria-label=${label}>
    <path class="area" d=${area} /><path class="line" d=${line} /></svg>`;
}
