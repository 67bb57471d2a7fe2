// How numbers, durations and times are written: three significant digits, the
// same width wherever they are compared.

const digits = (v) => (v >= 100 ? v.toFixed(0) : v >= 10 ? v.toFixed(1) : v.toFixed(2));

/** Milliseconds as a duration: 431 µs, 2.30 ms, 1.20 s. */
export function ms(v) {
  if (v === null || v === undefined || Number.isNaN(v)) return '–';
  if (v === 0) return '0';
  if (v < 0.001) return `${digits(v * 1e6)} ns`;
  if (v < 0.9995) return `${digits(v * 1000)} µs`;
  if (v < 999.5) return `${digits(v)} ms`;
  if (v < 60_000) return `${digits(v / 1000)} s`;
  return `${digits(v / 60_000)} min`;
}

/** A rate a second. */
export function rate(v) {
  if (v === null || v === undefined) return '–';
  if (v === 0) return '0';
  if (v < 0.01) return '<0.01';
  if (v >= 999_500) return `${digits(v / 1e6)}M`;
  if (v >= 9_999.5) return `${digits(v / 1000)}k`;
  return v >= 1000 ? v.toFixed(0) : digits(v);
}

export function count(v) {
  return v === undefined || v === null ? '–' : v.toLocaleString('en').replaceAll(',', ' ');
}

/** A share from 0 to 1. */
export function percent(v) {
  if (!v) return '0';
  const p = v * 100;
  if (p < 0.01) return '<0.01 %';
  return `${p >= 99.95 ? p.toFixed(0) : p >= 10 ? p.toFixed(1) : p.toFixed(2)} %`;
}

export function bytes(v) {
  if (v < 0) return 'no bound';
  for (const [unit, size] of [['GiB', 2 ** 30], ['MiB', 2 ** 20], ['KiB', 2 ** 10]]) {
    if (v >= size) return `${digits(v / size)} ${unit}`;
  }
  return `${v} B`;
}

const pad = (n, width = 2) => String(n).padStart(width, '0');

/** Local time of day; with milliseconds if asked. */
export function clock(t, fine = false) {
  const d = new Date(t);
  const base = `${pad(d.getHours())}:${pad(d.getMinutes())}:${pad(d.getSeconds())}`;
  return fine ? `${base}.${pad(d.getMilliseconds(), 3)}` : base;
}

/** Local date and time, as date inputs have it. */
export function local(t) {
  const d = new Date(t);
  return `${d.getFullYear()}-${pad(d.getMonth() + 1)}-${pad(d.getDate())}T${clock(t)}`;
}

/** From–to, the date only where it isn't today. */
export function interval(from, to) {
  const day = (t) => local(t).slice(0, 10);
  const date = day(from) === day(Date.now()) ? '' : `${day(from)} `;
  return `${date}${clock(from)} – ${day(to) === day(from) ? '' : `${day(to)} `}${clock(to)}`;
}

/** How long ago: 4 s, 3 min, 2 h. */
export function age(millis) {
  const s = Math.max(0, Math.round(millis / 1000));
  if (s < 100) return `${s} s`;
  if (s < 6000) return `${Math.round(s / 60)} min`;
  return s < 360_000 ? `${Math.round(s / 3600)} h` : `${Math.round(s / 86_400)} d`;
}

/** A workload's name with its namespace, if that says something. */
export function title(w) {
  if (!w.workload) return w.namespace || '(other)';
  return w.namespace && w.namespace !== 'host' ? `${w.namespace}/${w.workload}` : w.workload;
}
