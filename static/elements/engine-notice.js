import { h, icon, setText } from '../ui/dom.js';

/** @typedef {import('../call/protocol.js').Engine} Engine */

/** What the engine in use can and cannot do, and that it is still warming up. Hidden when there is nothing to say. */
export class EngineNotice extends HTMLElement {
  #text = h('p', { 'data-testid': 'engine-notice' });
  #warming = h('div', { class: 'warming', role: 'status', hidden: true });
  #doing = h('p', { class: 'doing', 'aria-live': 'off' });
  #bar = h('span', { class: 'progress', role: 'progressbar', 'aria-label': 'Warming up' });
  /** @type {string | null} */
  #state = null;
  #dismissed = false;
  #what;

  /** @param {{compact?: boolean, what?: 'interpreter' | 'voice'}} [options] compact: two lines, more on demand, and it
   * can be put away; what: the engine is for */
  constructor({ compact = false, what = 'interpreter' } = {}) {
    super();
    this.#what = what;
    this.append(h('div', { class: 'notice' }, icon('info'), this.#text), this.#warming);
    if (compact) this.#makeCompact();
    this.engine = null;
  }

  /** @param {Engine | null} engine */
  set engine(engine) {
    this.#text.textContent = engine?.notice ?? '';
    /** @type {HTMLElement} */ (this.firstElementChild).hidden = !engine?.notice || this.#dismissed;
    const warming = engine?.state === 'warming' && !engine.error;
    if (warming) this.#showProgress(engine);
    const state = `${engine?.state} ${engine?.error ?? ''}`;
    if (state === this.#state) return; // a progress bar must not start over
    this.#state = state;
    this.#warming.hidden = !engine || engine.state === 'ready';
    if (engine?.error) this.#say(`The ${this.#what} does not work: ${engine.error}${this.#meanwhile(' You hear')}`);
    else if (warming)
      this.#warming.replaceChildren(
        h('p', {}, `The ${this.#what} is warming up.${this.#meanwhile(' Until then you hear')}`),
        this.#doing,
        this.#bar,
      );
    else if (engine?.state === 'draining')
      this.#say('This server is about to be replaced. You will be connected to the next one.');
  }

  /** @param {string} hear */
  #meanwhile(hear) {
    return this.#what === 'interpreter' ? `${hear} the original voices.` : '';
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

  /** @param {Engine} engine */
  #showProgress({ progress, doing, eta_s }) {
    const parts = [doing, eta_s && `about ${inWords(eta_s)} left`].filter(Boolean);
    setText(this.#doing, parts.join(' · '));
    this.#doing.hidden = !parts.length;
    this.#bar.classList.toggle('is-known', Boolean(progress));
    if (!progress) return;
    this.#bar.style.setProperty('--progress', String(progress));
    this.#bar.setAttribute('aria-valuenow', String(Math.round(progress * 100)));
  }
}

/** @param {number} seconds */
function inWords(seconds) {
  return seconds < 90 ? `${Math.ceil(seconds)} s` : `${Math.round(seconds / 60)} minutes`;
}

customElements.define('engine-notice', EngineNotice);
