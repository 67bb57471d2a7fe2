import { html } from '../vendor/vendor.js'; export const GraphView = () => html`<h1>GraphView</h1>`;
