// Who calls whom, from left to right. Positions stay while the same workloads
// call each other, so that the eye finds what it saw before.
import { html, dagre, useRef } from '../vendor/vendor.js';
import { url, go, narrowed, open, timeQuery, workload } from '../state.js';
import { useAnswer } from '../data.js';
import { Table, Go } from '../table.js';
import { figures, Name } from './services.js';
import { About, Narrowed, Problem } from './about.js';
import * as f from '../format.js';

const width = 196, height = 44;
const idOf = (w) => JSON.stringify([w.namespace, w.workload, w.kind]);

/** Places for nodes and lines: laid out anew only when there are others. */
function useLayout(nodes, edges) {
  const kept = useRef({ shape: '', places: null });
  const shape = JSON.stringify([nodes.map(idOf), edges.map((e) => [idOf(e.from), idOf(e.to)])]);
  if (kept.current.shape === shape) return kept.current.places;
  const g = new dagre.graphlib.Graph({ multigraph: true });
  g.setGraph({ rankdir: 'LR', nodesep: 24, ranksep: 46, marginx: 24, marginy: 20 });
  g.setDefaultEdgeLabel(() => ({}));
  // The same order gives the same places, whatever the rates are.
  for (const n of nodes) g.setNode(idOf(n), { width, height });
  for (const e of edges) g.setEdge(idOf(e.from), idOf(e.to), { width: 96, height: 14, labelpos: 'c' }, e.protocol);
  dagre.layout(g);
  const places = {
    width: Math.max(g.graph().width || 0, 200), height: Math.max(g.graph().height || 0, 80),
    node: (n) => g.node(idOf(n)), edge: (e) => g.edge(idOf(e.from), idOf(e.to), e.protocol),
  };
  kept.current = { shape, places };
  return places;
}

const share = (r) => (r.count ? r.errors / r.count : 0);
const failing = (r) => share(r) >= 0.01;
/** From the right of one node to the left of another, through dagre's corners. */
function path(from, to, points) {
  if (from === to) return `M${from.x - 30} ${from.y - height / 2}c-10 -22 70 -22 60 -1`;
  const back = to.x <= from.x;
  const start = { x: from.x + width / 2, y: from.y }, end = { x: to.x - width / 2 - 1, y: to.y };
  let d = `M${start.x} ${start.y}`, at = start;
  for (const p of [...points.slice(1, -1), end]) {
    const bend = back ? 50 : Math.max((p.x - at.x) / 2, 12);
    d += `C${at.x + bend} ${at.y} ${p.x - bend} ${p.y} ${p.x} ${p.y}`;
    at = p;
  }
  return d;
}

export function GraphView() {
  const { answer, error } = useAnswer(`map?${timeQuery.value}&${narrowed()}`);
  const words = (url.value.q || '').toLowerCase().trim();
  const has = (w) => f.title(w).toLowerCase().includes(words);
  const edges = (answer?.edges || []).filter((e) => !words || has(e.from) || has(e.to));
  const used = new Set(edges.flatMap((e) => [idOf(e.from), idOf(e.to)]));
  const nodes = (answer?.nodes || []).filter((n) => (words ? used.has(idOf(n)) || has(n) : true));
  return html`
    <div class="bar-of-view">
      <h1>Map</h1>
      <label class="filter"><span class="hidden">Filter</span><input type="search" data-filter placeholder="Filter by name  /" value=${url.value.q || ''}
        onInput=${(e) => go({ q: e.target.value }, { replace: true })} onKeyDown=${(e) => { if (e.key === 'Escape') e.target.blur(); }} /></label>
      <button type="button" aria-pressed=${Boolean(url.value.table)} onClick=${() => go({ table: url.value.table ? null : 1 }, { replace: true })} title="drawing or table (v)">As a table</button>
      <span class="legend"><span class="line c-rate">width: requests/s</span><span class="line dashed c-bad">errors ≥ 1 %</span></span>
      <${Narrowed} side />
      <${About} answer=${answer} error=${error} />
    </div>
    <${Problem} error=${error} />
    ${answer?.grouped && html`<p class="summary">More than 150 workloads: each box is a namespace.</p>`}
    ${answer && (edges.length === 0 ? html`<p class="nothing">${words && answer.edges.length ? `No name contains “${url.value.q}”.` : 'Nobody called anybody in this interval.'}</p>`
      : url.value.table ? html`<${Edges} edges=${edges} />` : html`<${Drawing} nodes=${nodes} edges=${edges} />`)}
    ${answer?.left_out > 0 && html`<p class="summary">${answer.left_out} less busy calls are left out.</p>`}`;
}

function Drawing({ nodes, edges }) {
  const places = useLayout(nodes, edges);
  const most = Math.max(...edges.map((e) => e.rate), 1e-9);
  const walk = (e) => {
    const by = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] }[e.key];
    const here = e.target.closest('.node');
    if (!by || !here) return;
    e.preventDefault();
    const [x, y] = [Number(here.dataset.x), Number(here.dataset.y)];
    let best = null, least = Infinity;
    for (const n of e.currentTarget.querySelectorAll('.node')) {
      const dx = n.dataset.x - x, dy = n.dataset.y - y;
      const ahead = dx * by[0] + dy * by[1], aside = Math.abs(dx * by[1]) + Math.abs(dy * by[0]);
      if (n !== here && ahead > 0 && ahead + 3 * aside < least) [best, least] = [n, ahead + 3 * aside];
    }
    best?.focus();
  };
  return html`<div class="graph" onKeyDown=${walk} tabindex="-1">
    <svg viewBox=${`0 0 ${places.width} ${places.height}`} style=${{ width: `${places.width}px`, maxWidth: nodes.length < 40 ? '100%' : 'none', minWidth: `${places.width * 0.6}px` }} role="group" aria-label=${`${nodes.length} workloads and ${edges.length} ways they call each other; arrow keys walk them, the key v shows a table`}>
      <defs>${['', 'bad'].map((kind) => html`<marker id=${`head${kind}`} class=${kind} viewBox="0 0 8 8" refX="7" refY="4" markerWidth="9" markerHeight="9" markerUnits="userSpaceOnUse" orient="auto"><path d="M0 0L8 4L0 8Z" /></marker>`)}</defs>
      ${edges.map((e) => {
        const p = places.edge(e);
        const bad = failing(e), loop = idOf(e.from) === idOf(e.to);
        const stroke = 1 + 4 * Math.sqrt(e.rate / most);
        return p && html`<g key=${idOf(e.from) + idOf(e.to) + e.protocol} class=${`edge ${bad ? 'failing' : ''}`} aria-hidden="true">
          <title>${`${f.title(e.from)} → ${f.title(e.to)}: ${f.rate(e.rate)}/s, ${f.percent(share(e))} errors, p99 ${f.ms(e.p99_ms)}, as the ${e.side} saw it${e.network_ms === null ? '' : `, ${f.ms(e.network_ms)} on the way`}`}</title>
          <path d=${path(places.node(e.from), places.node(e.to), p.points)} stroke-width=${stroke.toFixed(1)} stroke-dasharray=${bad ? '7 4' : null} marker-end=${`url(#head${bad ? 'bad' : ''})`} />
          ${!loop && html`<rect x=${p.x - 44} y=${p.y - 8} width="88" height="16" rx="3" />`}<text x=${loop ? places.node(e.from).x : p.x} y=${loop ? places.node(e.from).y - height / 2 - 5 : p.y + 3.5}>${f.rate(e.rate)}/s · ${f.ms(e.p99_ms)}</text></g>`;
      })}
      ${nodes.map((n) => {
        const p = places.node(n);
        if (!p) return null;
        const name = f.title(n);
        return html`<${Go} key=${idOf(n)} to=${n.workload ? workload(n, n.seen ? 'server' : 'client') : open('events', { ns: n.namespace })} class=${`node ${n.seen && failing(n) ? 'failing' : ''} ${n.seen ? '' : 'unseen'}`}
          transform=${`translate(${p.x - width / 2} ${p.y - height / 2})`} data-x=${p.x} data-y=${p.y}>
          <rect width=${width} height=${height} rx="6"><title>${name}</title></rect>
          <text x="10" y="18">${name.length > 24 ? `${name.slice(0, 23)}…` : name}</text>
          <text x="10" y="34" class="figures">${n.seen ? `${f.rate(n.rate)}/s · p99 ${f.ms(n.p99_ms)}${failing(n) ? ` · ✕ ${f.percent(share(n))}` : ''}` : n.namespace === 'external' ? 'outside' : 'calls others'}</text>
        <//>`;
      })}
    </svg></div>`;
}

function Edges({ edges }) {
  return html`<${Table} caption="Who calls whom" param="sort" fallback="-rate" rows=${edges} id=${(e) => idOf(e.from) + idOf(e.to) + e.protocol}
    link=${(e) => workload(e.to, e.to.namespace === 'external' ? 'client' : 'server')}
    columns=${[
      { key: 'from', label: 'From → to', value: (e) => f.title(e.from), cell: (e) => html`<${Name} of=${e.from} /> → <${Name} of=${e.to} />` },
      { key: 'side', label: 'Seen by', value: (e) => e.side, cell: (e) => html`<span class="dim">${e.side}</span>` },
      ...figures,
      { key: 'network', label: 'On the way', num: true, value: (e) => e.network_ms ?? -1, cell: (e) => f.ms(e.network_ms), title: 'mean of the client less that of the server, where both saw the same requests' },
    ]} />`;
}
