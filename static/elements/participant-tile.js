import { freshId, h, icon, setText } from '../ui/dom.js';
import { avatar, paint } from '../ui/people.js';

/** @typedef {import('../call/protocol.js').Participant} Participant */
/** @typedef {import('../ui/languages.js').Languages} Languages */

/**
 * @typedef {{self: boolean, speaking: boolean, interpreting: boolean, awaited: boolean}} Activity
 *   `interpreting`: the interpreter speaks for them; `awaited`: they speak and will be interpreted for me
 */

/** One person in the room. Fires `volume` with a number from 0 to 2. */
export class ParticipantTile extends HTMLElement {
  #languages;
  #avatar = h('span');
  #name = h('strong');
  #tongue = h('span', { class: 'tongue' });
  #activity = h('span', { class: 'activity' });
  #muted = h(
    'span',
    { class: 'muted', role: 'img', 'aria-label': 'muted', title: 'Muted', hidden: true },
    icon('mic-off'),
  );
  #volumeButton = h(
    'button',
    { type: 'button', class: 'bare', title: 'Volume', 'aria-expanded': 'false' },
    icon('volume'),
  );
  #initials = '';

  /** @param {Participant} person @param {Languages} languages @param {number | null} volume 0 to 2; null: oneself */
  constructor(person, languages, volume) {
    super();
    this.#languages = languages;
    this.setAttribute('role', 'listitem');
    this.dataset.testid = 'participant';
    this.dataset.participantId = person.id;
    paint(this, person.id);
    this.append(this.#avatar, this.#muted, h('div', { class: 'who' }, this.#name, this.#tongue, this.#activity));
    if (volume !== null) this.append(...this.#volume(person.id, volume));
  }

  /** @param {Participant} person @param {Activity} activity */
  show(person, { self, speaking, interpreting, awaited }) {
    if (this.#initials !== person.name) {
      this.#initials = person.name;
      const fresh = avatar(person);
      this.#avatar.replaceWith(fresh);
      this.#avatar = fresh;
    }
    this.#volumeButton.setAttribute('aria-label', `Volume of ${person.name}`);
    setText(this.#name, self ? `${person.name} (you)` : person.name);
    const speaks = this.#languages.english(person.speaks);
    const hears = this.#languages.english(person.language);
    const tongue = speaks === hears ? speaks : `speaks ${speaks}, hears ${hears}`;
    setText(this.#tongue, person.kind === 'voice' ? `A program that talks · ${tongue}` : tongue);
    setText(this.#activity, interpreting ? 'interpreter speaks' : awaited ? 'being translated…' : '');
    this.#muted.hidden = !person.muted;
    this.classList.toggle('is-speaking', speaking);
    this.classList.toggle('is-interpreted', interpreting);
  }

  /** @param {{original: number, translation: number}} levels */
  set levels({ original, translation }) {
    this.style.setProperty('--level', Math.max(original, translation).toFixed(2));
  }

  /** @param {string} personId @param {number} volume @returns {HTMLElement[]} a button, and the slider it opens */
  #volume(personId, volume) {
    const id = freshId('volume');
    const slider = h('input', {
      id: `${id}-slider`,
      type: 'range',
      min: 0,
      max: 200,
      step: 5,
      value: volume * 100,
      'data-testid': 'volume',
    });
    const shown = h('output', { for: `${id}-slider` }, `${slider.value} %`);
    const row = h(
      'div',
      { id, class: 'volume-row', hidden: true },
      h('label', { for: `${id}-slider`, class: 'visually-hidden' }, 'Volume'),
      slider,
      shown,
    );
    slider.addEventListener('input', () => {
      setText(shown, `${slider.value} %`);
      this.dispatchEvent(
        new CustomEvent('volume', { bubbles: true, detail: { personId, volume: Number(slider.value) / 100 } }),
      );
    });
    const button = this.#volumeButton;
    button.setAttribute('aria-controls', id);
    button.addEventListener('click', () => {
      row.hidden = !row.hidden;
      button.setAttribute('aria-expanded', String(!row.hidden));
      if (!row.hidden) slider.focus();
    });
    return [button, row];
  }
}

customElements.define('participant-tile', ParticipantTile);
