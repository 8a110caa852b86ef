import { pageUrl } from '../api.js';
import { h } from '../ui/dom.js';

/** The name at the top of a page, and the way to the lobby. */
export function masthead() {
  return h(
    'header',
    { class: 'masthead' },
    h(
      'a',
      { class: 'wordmark', href: pageUrl('/') },
      h('img', { src: '/static/logo.svg', alt: '', width: 32, height: 32 }),
      'Dragoman',
    ),
  );
}
