import { setText } from '../ui/dom.js';

/** @typedef {import('../call/link.js').LinkState} LinkState */

/** @type {Record<LinkState, string>} */
const WORDS = {
  connecting: 'Connecting…',
  connected: 'Connected',
  reconnecting: 'Reconnecting…',
  lost: 'Lost',
  left: 'Left',
};

/** Says whether the call holds. */
export class ConnectionPill extends HTMLElement {
  constructor() {
    super();
    this.setAttribute('role', 'status');
    this.dataset.testid = 'connection-state';
  }

  /** @param {LinkState} state */
  set state(state) {
    this.dataset.state = state;
    setText(this, WORDS[state]);
  }
}

customElements.define('connection-pill', ConnectionPill);
