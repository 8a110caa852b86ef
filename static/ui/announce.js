import { h } from './dom.js';

/** @param {'polite' | 'assertive'} urgency */
function region(urgency) {
  const element = h('div', {
    class: 'visually-hidden',
    'aria-live': urgency,
    role: urgency === 'polite' ? 'status' : 'alert',
  });
  document.body.append(element);
  return element;
}

const KEEP = 4;

/** @type {Map<string, HTMLElement>} */
const regions = new Map();

/** Says something to screen readers only. @param {string} text @param {'polite' | 'assertive'} [urgency] */
export function announce(text, urgency = 'polite') {
  const live = regions.get(urgency) ?? region(urgency);
  regions.set(urgency, live);
  live.append(h('p', {}, text));
  while (live.childElementCount > KEEP) live.firstElementChild?.remove();
}

// A live region must exist before it speaks.
for (const urgency of /** @type {const} */ (['polite', 'assertive'])) regions.set(urgency, region(urgency));
