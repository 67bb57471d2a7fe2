// The whole state of the page is its address. Everything reads url and changes
// it with go; back, forward, bookmarks and links to colleagues then just work.
import { signal, computed, batch } from './vendor/vendor.js';

const views = ['services', 'service', 'map', 'events', 'alerts', 'health'];

function read() {
  const state = Object.fromEntries(new URLSearchParams(location.search));
  if (!views.includes(state.view)) state.view = 'services';
  return state;
}

export const url = signal(read());

/** The address of this state with some keys changed; null removes one. */
export function href(patch) {
  const q = new URLSearchParams();
  for (const [key, value] of Object.entries({ ...url.value, ...patch })) {
    if (value !== null && value !== undefined && value !== '') q.set(key, value);
  }
  return `?${q}`;
}

/** Goes to a state. replace leaves no step to go back to. */
export function go(patch, { replace = false } = {}) {
  const to = href(patch);
  if (to === location.search) return;
  history[replace ? 'replaceState' : 'pushState'](null, '', to);
  url.value = read();
}

addEventListener('popstate', () => {
  batch(() => {
    url.value = read();
    head.value = Number(url.value.at) || 0;
  });
});

// What a view is of goes when another view is opened; the time stays.
const ofViews = ['ns', 'w', 'kind', 'side', 'q', 'sort', 'osort', 'csort', 'esort', 'filter', 'lo', 'hi', 't', 'clo', 'chi', 'table', 'event'];

/** The patch that opens a view afresh. */
export function open(view, patch = {}) {
  return { ...Object.fromEntries(ofViews.map((k) => [k, null])), view, ...patch };
}

export const workload = (w, side) => open('service', {
  ns: w.namespace, w: w.workload, kind: w.kind, side: side === 'client' ? 'client' : null,
});

/** What a view is narrowed to by its address, as the server is asked for it. */
export function narrowed() {
  const u = url.value, q = new URLSearchParams();
  for (const [name, value] of [['namespace', u.ns], ['workload', u.w], ['kind', u.kind], ['side', u.side]]) if (value) q.set(name, value);
  return q;
}

// --- time ---

export const spans = ['5m', '15m', '1h', '6h', '24h'];
export const spanMillis = { '5m': 3e5, '15m': 9e5, '1h': 36e5, '6h': 216e5, '24h': 864e5 };
export const WINDOW = 10_000;

/** Where a replay is, unix milliseconds. It runs ahead of the address. */
export const head = signal(Number(url.value.at) || 0);

export const mode = computed(() => {
  const u = url.value;
  if (u.at) return 'replay';
  return u.from && u.to ? 'interval' : 'live';
});

export const last = computed(() => (spans.includes(url.value.last) ? url.value.last : '5m'));

/** The end of what a replay shows: whole windows only. */
const shown = computed(() => Math.floor(head.value / WINDOW) * WINDOW);

/** What the server is asked for. */
export const timeQuery = computed(() => {
  switch (mode.value) {
    case 'replay': return `last=${last.value}&to=${shown.value}`;
    case 'interval': return `from=${url.value.from}&to=${url.value.to}`;
  }
  return `last=${last.value}`;
});
