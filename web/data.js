// Talks to the gateway: how things are (live), and answers for the views.
import { signal, useEffect, useState, useRef } from './vendor/vendor.js';
import { mode } from './state.js';

/** What /api/live said last; null before the first time. */
export const live = signal(null);
/** Whether the gateway answers, and since when not. */
export const gateway = signal({ up: true, since: Date.now() });
/** The server's clock less ours, milliseconds. */
export const skew = signal(0);

let source = null;

/** Follows the gateway, for ever. A hidden page lets go of its connection. */
export function follow() {
  connect();
  document.addEventListener('visibilitychange', () => {
    if (document.hidden) {
      source?.close();
      source = null;
    } else if (!source) connect();
  });
}

function connect() {
  const s = new EventSource('api/live');
  source = s;
  s.addEventListener('live', (e) => {
    const said = JSON.parse(e.data);
    skew.value = said.now - Date.now();
    live.value = said;
    if (!gateway.value.up) gateway.value = { up: true, since: Date.now() };
  });
  s.onerror = () => {
    if (source !== s) return;
    if (gateway.value.up) gateway.value = { up: false, since: Date.now() };
    if (s.readyState === EventSource.CLOSED) { // it was refused: the browser won't try again
      why(s.url).then((error) => { if (error && !gateway.value.up) gateway.value = { ...gateway.value, error: error.message }; });
      setTimeout(() => { if (source === s) connect(); }, 2000);
    }
  };
}

/** Why a stream of events was refused, which EventSource doesn't tell; null if it wasn't. */
export async function why(address) {
  const stop = new AbortController();
  try {
    const r = await fetch(address, { signal: stop.signal });
    return r.ok ? null : new Refused(await r.json());
  } catch {
    return null;
  } finally {
    stop.abort();
  }
}

export class Refused extends Error {
  constructor(said) {
    super(said.error);
    this.column = said.column;
  }
}

export async function ask(path, signal) {
  const r = await fetch(`api/${path}`, { signal });
  if (r.status === 401) location.reload(); // the token is no longer known
  const body = await r.json().catch(() => ({ error: `the gateway answered ${r.status}` }));
  if (!r.ok || body.error) throw new Refused(body);
  return body;
}

/**
 * The answer to a question, asked again when it changes or, live or while the
 * gateway still reads its history, when there is something new. One is under way at a time; the last answer stays until
 * the next one is there.
 */
export function useAnswer(path) {
  const [state, set] = useState({ answer: null, error: null, path: null });
  const flight = useRef({ path: null, again: null, stop: null });
  // The past doesn't change, but for what of it isn't read yet.
  const change = mode.value === 'live' || live.value?.loaded < 1 ? live.value?.change : 0;
  const back = gateway.value.up;
  useEffect(() => {
    if (!path) return;
    const f = flight.current;
    const run = async (asked) => {
      f.path = asked;
      f.stop = new AbortController();
      try {
        const answer = await ask(asked, f.stop.signal);
        set({ answer, error: null, path: asked });
      } catch (error) {
        if (error.name !== 'AbortError') set((s) => ({ answer: s.answer, error, path: asked }));
      }
      f.path = null;
      const next = f.again;
      f.again = null;
      if (next) run(next);
    };
    if (!f.path) run(path);
    else {
      f.again = path;
      // Another place is wanted, not another moment of the same.
      if (f.path.split('?')[0] !== path.split('?')[0]) f.stop.abort();
    }
  }, [path, change, back]);
  useEffect(() => () => {
    flight.current.again = null;
    flight.current.stop?.abort();
  }, []);
  return { ...state, fresh: state.path === path };
}
