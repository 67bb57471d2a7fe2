// Tables: sorted by a click on a head, walked with the arrow keys.
import { html, useMemo, useRef } from './vendor/vendor.js';
import { url, go } from './state.js';

/**
 * columns: [{ key, label, num, value(row) to sort by, cell(row), grow (takes what
 * room is left), title }]. id(row) names a row; without it a row is its place,
 * which suits rows that pass by.
 * link(row) is where a row leads: what Enter and a click do. param names the
 * sort in the address, fallback is its first value, such as '-rate'.
 */
export function Table({ columns, rows, id, link, param, fallback, caption, onrow, selected, className = '' }) {
  const body = useRef(null);
  const sort = (param && url.value[param]) || fallback || '';
  const key = sort.replace(/^-/, '');
  const column = columns.find((c) => c.key === key);
  const sorted = column ? [...rows].sort(by(column, sort.startsWith('-'))) : rows;
  const turn = (c) => go({ [param]: sort === `-${c.key}` ? c.key : sort === c.key ? `-${c.key}` : c.num ? `-${c.key}` : c.key }, { replace: true });
  const move = (e) => {
    const all = [...body.current.rows];
    const at = all.indexOf(e.target.closest('tr'));
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, j: at + 1, k: at - 1, Home: 0, End: all.length - 1 }[e.key];
    if (to === undefined || e.ctrlKey || e.metaKey || e.altKey) return;
    e.preventDefault();
    all[Math.min(Math.max(to, 0), all.length - 1)]?.querySelector('a, button')?.focus();
  };
  return html`
    <div class="scroll"><table class=${`data ${className}`}>
      ${caption && html`<caption>${caption}</caption>`}
      <thead><tr>${columns.map((c) => html`
        <th scope="col" class=${`${c.num ? 'num' : ''} ${c.grow ? 'grow' : ''}`} title=${c.title}
            aria-sort=${c.key === key ? (sort.startsWith('-') ? 'descending' : 'ascending') : undefined}>
          ${param && c.value
            ? html`<button type="button" class="head" onClick=${() => turn(c)}>${c.label}<span class="arrow" aria-hidden="true">${c.key === key ? (sort.startsWith('-') ? '↓' : '↑') : ''}</span></button>`
            : c.label}
        </th>`)}</tr></thead>
      <tbody ref=${body} onKeyDown=${move}>${sorted.map((row) => html`
        <${Row} key=${id?.(row)} row=${row} columns=${columns} link=${link} onrow=${onrow} chosen=${!!selected?.(row)} />`)}</tbody>
    </table></div>`;
}

/** A row is drawn anew when it, or what is shown of it, is another: not with every key that is typed above it. */
function Row({ row, columns, link, onrow, chosen }) {
  return useMemo(() => html`<tr class=${chosen ? 'selected' : ''} onClick=${(e) => pick(e, row, link, onrow)}>
    ${columns.map((c, i) => html`<td data-head=${c.label} class=${`${c.num ? 'num' : ''} ${c.className ? c.className(row) : ''}`}>${i === 0 && (link || onrow)
      ? html`<${Lead} row=${row} link=${link} onrow=${onrow}>${c.cell(row)}<//>` : c.cell(row)}</td>`)}
  </tr>`, [row, columns, chosen]);
}

/** The first cell of a row is what the keyboard reaches. */
function Lead({ row, link, onrow, children }) {
  if (link) return html`<${Go} to=${link(row)} class="lead">${children}<//>`;
  return html`<button type="button" class="lead" onClick=${(e) => { e.stopPropagation(); onrow(row); }}>${children}</button>`;
}

function pick(e, row, link, onrow) {
  if (e.target.closest('a, button') || String(getSelection())) return;
  if (link) go(link(row));
  else onrow?.(row);
}

function by(column, down) {
  const sign = down ? -1 : 1;
  return (a, b) => {
    const x = column.value(a), y = column.value(b);
    return sign * (typeof x === 'string' ? x.localeCompare(y) : x - y);
  };
}

/** A link within the page: to is a patch of the state. */
export function Go({ to, children, ...rest }) {
  return html`<a href=${hrefOf(to)} onClick=${(e) => {
    if (e.metaKey || e.ctrlKey || e.shiftKey || e.button) return;
    e.preventDefault();
    e.stopPropagation();
    go(to);
  }} ...${rest}>${children}</a>`;
}

import { href as hrefOf } from './state.js';
