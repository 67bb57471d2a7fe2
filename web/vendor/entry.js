// Everything of others that the page uses, and nothing more.
import { h } from 'preact';
import htm from 'htm';

export { render, Component } from 'preact';
export { useEffect, useLayoutEffect, useRef, useState, useMemo } from 'preact/hooks';
export { signal, computed, effect, batch, untracked } from '@preact/signals';
export { default as uPlot } from 'uplot';
export { default as dagre } from '@dagrejs/dagre';
export const html = htm.bind(h);
