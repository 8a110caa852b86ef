import { h } from '../ui/dom.js';

const SHOWN_MS = 12_000;

/** How far the interpreter is behind the voice; goes away when nobody has been interpreted for a while. */
export class LagBadge extends HTMLElement {
  #timer = 0;

  constructor() {
    super();
    this.dataset.testid = 'lag-badge';
    this.hidden = true;
    this.title = 'Time from the end of a sentence to its translation';
  }

  /** @param {number} ms */
  show(ms) {
    this.replaceChildren(h('b', {}, (ms / 1000).toFixed(1)), ' s', h('span', {}, ' behind'));
    this.hidden = false;
    clearTimeout(this.#timer);
    this.#timer = window.setTimeout(() => {
      this.hidden = true;
    }, SHOWN_MS);
  }
}

customElements.define('lag-badge', LagBadge);
