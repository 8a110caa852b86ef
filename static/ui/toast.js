import { h, icon } from './dom.js';

const SHOWN_MS = 7_000;
const AT_ONCE = 3;

/** @type {HTMLElement | null} */
let shelf = null;

/** Shows a sentence for a while. @param {string} text @param {'error' | 'info'} [kind] */
export function toast(text, kind = 'info') {
  if (!shelf) {
    shelf = h('div', { class: 'toasts' });
    document.body.append(shelf);
  }
  const isError = kind === 'error';
  const close = h('button', { type: 'button', class: 'bare', 'aria-label': 'Dismiss' }, icon('close'));
  const item = h(
    'div',
    {
      class: `toast toast-${kind}`,
      role: isError ? 'alert' : 'status',
      'data-testid': isError ? 'error' : 'toast',
    },
    h('p', {}, text),
    close,
  );
  const remove = () => item.remove();
  close.addEventListener('click', remove);
  setTimeout(remove, SHOWN_MS);
  shelf.append(item);
  while (shelf.childElementCount > AT_ONCE) shelf.firstElementChild?.remove();
}
