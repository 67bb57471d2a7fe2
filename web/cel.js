// The filter of events: a CEL expression with completion, and mistakes shown
// where they are.
import { html, useEffect, useRef, useState } from './vendor/vendor.js';
import { ask } from './data.js';

const ends = [['namespace', 'string'], ['workload', 'string'], ['pod', 'string'], ['service', 'string'], ['address', 'string'], ['port', 'int']];
/** What a filter may name; the same as `weir observe --filter`. */
const names = [
  ['side', '"server" or "client"'], ['protocol', 'string'], ['operation', 'string'], ['method', 'string'], ['path', 'string'],
  ['status', 'int'], ['error', 'string'], ['duration_ms', 'double'], ['wait_ms', 'double'], ['processing_ms', 'double'], ['transfer_ms', 'double'],
  ['request_bytes', 'int'], ['response_bytes', 'int'], ['node', 'string'], ['time', 'timestamp'],
  ...['source', 'destination'].flatMap((e) => ends.map(([n, t]) => [`${e}.${n}`, t])),
  ['process.pid', 'int'], ['process.name', 'string'],
];
const methods = [['contains("")', 'string'], ['startsWith("")', 'string'], ['endsWith("")', 'string'], ['matches("")', 'regular expression']];

/** The word at the cursor, and what could stand there. */
function suggest(text, at) {
  const before = text.slice(0, at);
  if ((before.match(/"/g) || []).length % 2) return null; // in a string
  const word = before.match(/[A-Za-z_][\w.]*$/)?.[0] || '';
  if (!word) return null;
  const dot = word.lastIndexOf('.');
  const strings = new Set(names.filter(([, t]) => t.includes('string') || t.includes('"')).map(([n]) => n));
  const found = names.filter(([n]) => n.startsWith(word) && n !== word);
  if (dot > 0 && strings.has(word.slice(0, dot))) {
    for (const [m, t] of methods) if (m.startsWith(word.slice(dot + 1))) found.push([`${word.slice(0, dot)}.${m}`, t]);
  }
  return found.length ? { word, found: found.slice(0, 10) } : null;
}

/** value is what is applied; onapply(text) comes with what was found right. */
export function Filter({ value, onapply }) {
  const [text, setText] = useState(value);
  const [mistake, setMistake] = useState(null);
  const [offer, setOffer] = useState(null);
  const [chosen, setChosen] = useState(0);
  const input = useRef(null);
  useEffect(() => setText(value), [value]);
  useEffect(() => {
    if (!text) { setMistake(null); return undefined; }
    const stop = new AbortController();
    const wait = setTimeout(() => {
      ask(`filter?filter=${encodeURIComponent(text)}`, stop.signal).then(() => setMistake(null), (e) => {
        if (e.name !== 'AbortError') setMistake({ reason: e.message, column: e.column, of: text });
      });
    }, 150);
    return () => { clearTimeout(wait); stop.abort(); };
  }, [text]);
  const apply = async () => {
    setOffer(null);
    try {
      if (text) await ask(`filter?filter=${encodeURIComponent(text)}`);
      onapply(text);
    } catch (e) {
      setMistake({ reason: e.message, column: e.column, of: text });
    }
  };
  const take = ([name]) => {
    const at = input.current.selectionStart;
    const to = text.slice(0, at - offer.word.length) + name + text.slice(at);
    setText(to);
    setOffer(null);
    requestAnimationFrame(() => {
      const cursor = at - offer.word.length + name.length - (name.endsWith('("")') ? 2 : 0);
      input.current.focus();
      input.current.setSelectionRange(cursor, cursor);
    });
  };
  const typed = (e) => {
    setText(e.target.value);
    setOffer(suggest(e.target.value, e.target.selectionStart));
    setChosen(0);
  };
  const key = (e) => {
    if (offer && (e.key === 'ArrowDown' || e.key === 'ArrowUp')) {
      e.preventDefault();
      setChosen((chosen + (e.key === 'ArrowDown' ? 1 : offer.found.length - 1)) % offer.found.length);
    } else if (offer && e.key === 'Tab' && !e.shiftKey) {
      e.preventDefault();
      take(offer.found[chosen]);
    } else if (e.key === 'Enter') {
      e.preventDefault();
      apply();
    } else if (e.key === 'Escape') {
      if (offer) setOffer(null);
      else e.target.blur();
    }
  };
  const here = mistake && mistake.of === text && mistake;
  return html`<div class="cel">
    <input ref=${input} data-filter type="text" spellcheck="false" autocomplete="off" value=${text} placeholder=${'status >= 500 && destination.workload == "cart"   /'}
      role="combobox" aria-label="Filter, a CEL expression" aria-expanded=${Boolean(offer)} aria-controls="offer" aria-autocomplete="list"
      aria-activedescendant=${offer ? `offer-${chosen}` : undefined} aria-invalid=${Boolean(here)} aria-describedby="mistake"
      onInput=${typed} onKeyDown=${key} onBlur=${() => setTimeout(() => setOffer(null), 150)} />
    <ul id="offer" role="listbox" aria-label="Names" hidden=${!offer}>${offer?.found.map((o, i) => html`
      <li id=${`offer-${i}`} role="option" aria-selected=${i === chosen} onPointerDown=${(e) => { e.preventDefault(); take(o); }}>${o[0]} <span class="dim">${o[1]}</span></li>`)}</ul>
    <div id="mistake" class="mistake" role="status">${here && html`${here.column >= 0 && `${' '.repeat(here.column)}^ `}${here.reason}`}</div>
  </div>`;
}
