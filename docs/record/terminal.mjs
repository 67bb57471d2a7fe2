// A terminal in tmux, whose screens become an animated SVG.
import { execFileSync } from 'node:child_process';
import { eventually } from '../../test/page/browser.mjs';

const cell = { width: 8.4, height: 18 };
const margin = 14;
const classes = { 1: 'b', 2: 'f', 7: 'i', 31: 'r', 32: 'g', 33: 'y' }; // of the ANSI codes that weir writes
const css = `text{font:14px ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;white-space:pre;fill:#e6edf3}
.frame{visibility:hidden}
.b{font-weight:bold}.f{fill:#8b949e}.r{fill:#ff7b72}.g{fill:#7ee787}.y{fill:#e3b341}.i{fill:#0d1117}rect.i{fill:#e6edf3}`;

export class Terminal {
  frames = [];

  constructor(columns, rows, folder) {
    Object.assign(this, { columns, rows, socket: `${folder}/tmux` });
    this.tmux('new-session', '-d', '-x', columns, '-y', rows, "env PS1='$ ' bash --norc --noprofile");
    this.tmux('set', '-g', 'status', 'off');
  }

  tmux(...args) {
    return execFileSync('tmux', ['-u', '-f', '/dev/null', '-S', this.socket, ...args.map(String)], { encoding: 'utf8', env: { ...process.env, TERM: 'xterm-256color', TZ: 'UTC' } });
  }

  close() { this.tmux('kill-server'); }

  shows(pattern) {
    return eventually(() => {
      const screen = this.tmux('capture-pane', '-p').trimEnd();
      if (!pattern.test(screen.endsWith('$') ? `${screen} ` : screen)) throw new Error(`no ${pattern} in\n${screen}`);
    });
  }

  /** Keeps the screen as it is now, to be shown for so many milliseconds. */
  frame(ms) {
    const [x, y, visible] = this.tmux('display-message', '-p', '#{cursor_x} #{cursor_y} #{cursor_flag}').trim().split(' ').map(Number);
    this.frames.push({ lines: this.tmux('capture-pane', '-p', '-e').split('\n').slice(0, this.rows), cursor: visible ? { x, y } : null, ms });
  }

  /** Types a command on an empty screen, and keeps what it has shown once a pattern is there. */
  async command(text, pattern, ms) {
    await this.keys('C-l', /^\$ $/, 600);
    for (const part of text.match(/.{1,3}/g)) {
      this.tmux('send-keys', '-l', '--', part);
      this.frame(100);
    }
    await this.keys('Enter', pattern, ms);
  }

  async keys(key, pattern, ms) {
    this.tmux('send-keys', key);
    await this.shows(pattern);
    this.frame(ms);
  }

  /** All frames, one after the other, for ever. Equal lines are kept once. */
  svg(title) {
    const lines = new Map();
    const whole = this.frames.reduce((sum, f) => sum + f.ms, 0);
    const longest = this.frames.reduce((best, f, i) => (f.ms > this.frames[best].ms ? i : best), 0); // for those who don't want motion
    let style = css, groups = '', at = 0;
    this.frames.forEach((f, i) => {
      const from = (100 * at) / whole, to = (100 * (at += f.ms)) / whole;
      style += `@keyframes k${i}{0%{visibility:hidden}${from.toFixed(2)}%{visibility:visible}${to.toFixed(2)}%{visibility:${to < 100 ? 'hidden' : 'visible'}}}#k${i}{animation:k${i} ${whole}ms step-end infinite}`;
      groups += `<g id="k${i}" class="frame">`;
      const on = new Set(); // tmux says only what changes, also from line to line
      f.lines.forEach((text, y) => {
        const line = draw(text, on);
        if (!line) return;
        if (!lines.has(line)) lines.set(line, lines.size);
        groups += `<use href="#l${lines.get(line)}" y="${y * cell.height}"/>`;
      });
      if (f.cursor) groups += `<rect class="i" x="${(f.cursor.x * cell.width).toFixed(1)}" y="${f.cursor.y * cell.height + 2}" width="8" height="16"/>`;
      groups += '</g>';
    });
    style += `@media(prefers-reduced-motion:reduce){.frame{animation:none!important}#k${longest}{visibility:visible}}`;
    const defs = [...lines].map(([line, n]) => `<g id="l${n}">${line}</g>`).join('');
    const width = Math.ceil(this.columns * cell.width + 2 * margin), height = this.rows * cell.height + 2 * margin;
    return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img"><title>${escape(title)}</title><style>${style}</style>`
      + `<rect width="100%" height="100%" rx="8" fill="#0d1117"/><defs>${defs}</defs><svg x="${margin}" y="${margin}">${groups}</svg></svg>\n`;
  }
}

const escape = (s) => s.replace(/[&<>]/g, (c) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;' })[c]);

/** One line with its colours, each piece as wide as its cells in whatever font. */
function draw(line, on) {
  let out = '', x = 0;
  for (const [, codes, blocks, text] of line.matchAll(/\x1b\[([\d;]*)m|([▁-█]+)|((?:(?![▁-█])[^\x1b])+)/g)) {
    const left = (x * cell.width).toFixed(1);
    if (codes !== undefined) {
      codes.split(';').map(Number).forEach((code) => turn(on, code));
    } else if (blocks) { // drawn, since fonts leave gaps between them
      const bars = [...blocks].map((b) => (cell.height * (b.codePointAt(0) - 0x2580)) / 8);
      out += `<path fill="#e6edf3" d="M${left} ${cell.height}${bars.map((h) => `v${-h}h${cell.width}v${h}`).join('')}z"/>`;
      x += bars.length;
    } else {
      const cells = [...text].length, wide = (cells * cell.width).toFixed(1);
      if (on.has('i')) out += `<rect class="i" x="${left}" width="${wide}" height="${cell.height}"/>`;
      if (text.trim()) out += `<text${on.size ? ` class="${[...on].join(' ')}"` : ''} x="${left}" y="14" textLength="${wide}">${escape(text)}</text>`;
      x += cells;
    }
  }
  return out;
}

/** Takes one parameter of an ANSI sequence to the classes that are on. */
function turn(on, code) {
  if (code === 0) on.clear();
  if (code === 27) on.delete('i');
  if (code === 39) ['r', 'g', 'y'].forEach((c) => on.delete(c));
  if (classes[code]) on.add(classes[code]);
}
