import { html } from '../vendor/vendor.js'; export const Service = () => html`<h1>Service</h1>`;
