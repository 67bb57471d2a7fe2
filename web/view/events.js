import { html } from '../vendor/vendor.js'; export const Events = () => html`<h1>Events</h1>`;
