import { h } from './dom.js';

const KEEP = 4;

// A live region must exist before it speaks. Not a `status`: that is read from its beginning each time.
const region = h('div', { class: 'visually-hidden', role: 'log', 'aria-live': 'polite' });
document.body.append(region);

/** Says something to screen readers only. @param {string} text */
export function announce(text) {
  region.append(h('p', {}, text));
  while (region.childElementCount > KEEP) region.firstElementChild?.remove();
}
