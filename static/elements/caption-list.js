import { announce } from '../ui/announce.js';
import { h } from '../ui/dom.js';
import { Follower } from '../ui/follower.js';
import { CaptionEntry } from './caption-entry.js';

/** @typedef {import('../call/call.js').Call} Call */
/** @typedef {import('../call/captions.js').Caption} Caption */
/** @typedef {import('../ui/languages.js').Languages} Languages */

const KEEP = 300;

/** The captions: the hero of the room. Screen readers hear each final sentence once, in one's own language. */
export class CaptionList extends HTMLElement {
  #call;
  #languages;
  /** @type {Map<string, CaptionEntry>} */
  #entries = new Map();
  #scroller = h('div', {
    class: 'scroller',
    tabindex: 0,
    role: 'region',
    'aria-label': 'Captions',
    'data-testid': 'captions',
  });
  #empty = h('div', { class: 'empty' });
  #follower;

  /** @param {Call} call @param {Languages} languages */
  constructor(call, languages) {
    super();
    this.#call = call;
    this.#languages = languages;
    this.#scroller.append(this.#empty);
    this.#follower = new Follower(this.#scroller, 'Latest captions');
    this.append(this.#scroller, this.#follower.button);
    call.addEventListener('caption', (event) => {
      const { caption, final } = /** @type {CustomEvent} */ (event).detail;
      this.#show(caption);
      if (final) this.#announce(final);
    });
    call.addEventListener('me', () => this.#showEmpty());
  }

  /** @param {Caption} caption */
  #show(caption) {
    this.#empty.remove();
    const person = this.#person(caption.participantId);
    let entry = this.#entries.get(caption.key);
    if (!entry) {
      entry = new CaptionEntry(caption, person, () => this.#call.options.language);
      this.#entries.set(caption.key, entry);
      this.#scroller.append(entry);
      if (this.#entries.size > KEEP) this.#forgetOldest();
    }
    entry.show(caption, this.#languages.get(this.#call.options.language)?.speech_out ?? false);
    this.#follower.follow();
  }

  #forgetOldest() {
    const [[key, entry]] = this.#entries;
    entry.remove();
    this.#entries.delete(key);
  }

  /** @param {import('../call/protocol.js').Transcript} transcript */
  #announce({ participant_id, language, text }) {
    if (participant_id === this.#call.participant?.id || language !== this.#call.options.language) return;
    announce(`${this.#person(participant_id).name}: ${text}`);
  }

  /** @param {string} id */
  #person(id) {
    return this.#call.roster.people.get(id) ?? { id, name: 'Somebody who left' };
  }

  #showEmpty() {
    const { language } = this.#call.options;
    this.#empty.replaceChildren(
      h('img', { src: '/static/logo.svg', alt: '', width: 72, height: 72 }),
      h('p', { class: 'lead' }, `What is said appears here in ${this.#languages.english(language)}.`),
      h('p', {}, 'Just talk. The interpreter follows a moment behind.'),
    );
  }
}

customElements.define('caption-list', CaptionList);
