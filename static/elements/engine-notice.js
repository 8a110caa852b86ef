import { h, icon } from '../ui/dom.js';

/** @typedef {import('../call/protocol.js').Engine} Engine */

/** What the engine in use can and cannot do, and that it is still warming up. Hidden when there is nothing to say. */
export class EngineNotice extends HTMLElement {
  #text = h('p', { 'data-testid': 'engine-notice' });
  #warming = h('div', { class: 'warming', role: 'status', hidden: true });
  /** @type {string | null} */
  #state = null;
  #dismissed = false;

  /** @param {{compact?: boolean}} [options] compact: two lines, more on demand, and it can be put away */
  constructor({ compact = false } = {}) {
    super();
    this.append(h('div', { class: 'notice' }, icon('info'), this.#text), this.#warming);
    if (compact) this.#makeCompact();
    this.engine = null;
  }

  /** @param {Engine | null} engine */
  set engine(engine) {
    this.#text.textContent = engine?.notice ?? '';
    /** @type {HTMLElement} */ (this.firstElementChild).hidden = !engine?.notice || this.#dismissed;
    const state = `${engine?.state} ${engine?.error ?? ''} ${engine?.eta_s ? 'timed' : ''}`;
    if (state === this.#state) return; // a progress bar must not start over
    this.#state = state;
    this.#warming.hidden = !engine || engine.state === 'ready';
    if (engine?.error) this.#say(`The interpreter does not start: ${engine.error} You hear the original voices.`);
    else if (engine?.state === 'warming') this.#showWarming(engine.eta_s ?? null);
    else if (engine?.state === 'draining')
      this.#say('This server is about to be replaced. You will be connected to the next one.');
  }

  #makeCompact() {
    const more = h('button', { type: 'button', class: 'bare more', 'aria-expanded': 'false' }, 'More');
    more.addEventListener('click', () => {
      const open = this.#text.classList.toggle('is-clamped') === false;
      more.textContent = open ? 'Less' : 'More';
      more.setAttribute('aria-expanded', String(open));
    });
    const dismiss = h('button', { type: 'button', class: 'bare', 'aria-label': 'Hide this notice' }, icon('close'));
    const box = /** @type {HTMLElement} */ (this.firstElementChild);
    dismiss.addEventListener('click', () => {
      box.hidden = this.#dismissed = true;
    });
    this.#text.classList.add('is-clamped');
    box.append(more, dismiss);
  }

  /** @param {string} text */
  #say(text) {
    this.#warming.replaceChildren(h('p', {}, text));
  }

  /** @param {number | null} etaS */
  #showWarming(etaS) {
    const eta = etaS ? ` About ${Math.ceil(etaS)} seconds.` : '';
    const bar = h('span', { class: 'progress', 'aria-hidden': 'true' });
    bar.style.setProperty('--eta', `${etaS ?? 20}s`);
    this.#warming.replaceChildren(
      h('p', {}, `The interpreter is warming up…${eta} Until then you hear the original voices.`),
      bar,
    );
  }
}

customElements.define('engine-notice', EngineNotice);
