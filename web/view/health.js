import { html } from '../vendor/vendor.js'; export const Health = () => html`<h1>Health</h1>`;
