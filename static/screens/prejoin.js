import { shareUrl } from '../api.js';
import { startAudio, playTestSound } from '../call/audio.js';
import { EngineNotice } from '../elements/engine-notice.js';
import { hearPicker, sameAs, speaksPicker } from '../elements/language-picker.js';
import { MicPicker } from '../elements/mic-picker.js';
import { ShareLink } from '../elements/share-link.js';
import { freshId, h, icon } from '../ui/dom.js';
import { avatar, plural } from '../ui/people.js';
import { loadPreferences, savePreferences } from '../ui/preferences.js';
import { toast } from '../ui/toast.js';
import { masthead } from './masthead.js';

/** @typedef {import('../call/protocol.js').Engine} Engine */
/** @typedef {import('../call/protocol.js').Room} Room */
/** @typedef {import('../call/microphone.js').Microphone} Microphone */
/** @typedef {import('../ui/languages.js').Languages} Languages */
/** @typedef {import('../ui/preferences.js').Preferences} Preferences */

/** @typedef {{preferences: Preferences, webAudio: boolean}} JoinChoice */

const NAME_LENGTH = 60;

/** Before the call: who am I, what do I hear and speak, does it work? Fires `join` with a JoinChoice. */
export class PrejoinScreen extends HTMLElement {
  #microphone;
  #preferences = loadPreferences();
  #hear;
  #speaks;
  #mic;
  #notice = new EngineNotice({ compact: true });
  #insideNow = '';
  #inside = h('div', { class: 'inside', 'aria-live': 'polite' });
  #join = h('button', { type: 'submit', class: 'primary large', 'data-testid': 'join-button' }, 'Join the room');
  #name = h('input', {
    id: freshId('name'),
    type: 'text',
    required: true,
    maxlength: NAME_LENGTH,
    dir: 'auto',
    autocomplete: 'name',
    'data-testid': 'name-input',
  });

  /** @param {Room} room @param {Engine | null} engine @param {Languages} languages @param {Microphone} microphone */
  constructor(room, engine, languages, microphone) {
    super();
    this.setAttribute('role', 'main');
    this.#microphone = microphone;
    this.#name.value = this.#preferences.name;
    const known = languages.get(this.#preferences.language) ? this.#preferences.language : languages.preferred();
    this.#hear = hearPicker({ label: 'I want to hear', testid: 'language-select', languages, value: known });
    this.#speaks = speaksPicker({
      label: 'I speak',
      testid: 'speaks-select',
      languages,
      value: this.#preferences.speaks,
      hear: () => this.#hear.value,
    });
    this.#mic = new MicPicker(
      microphone,
      this.#preferences.mic,
      'You will hear everybody and can type. Nobody hears you.',
    );
    this.#hear.addEventListener('change', () => {
      this.#speaks.setExtra(sameAs(languages, this.#hear.value));
      savePreferences({ language: this.#hear.value });
    });
    this.#speaks.addEventListener('change', () => savePreferences({ speaks: this.#speaks.value }));
    this.engine = engine;
    this.room = room;
    this.append(masthead(), this.#about(room), this.#form(), h('aside', {}, new ShareLink(shareUrl(), room.name)));
  }

  /** @param {Engine | null} engine */
  set engine(engine) {
    this.#notice.engine = engine;
  }

  /** Who is inside may change while one gets ready. @param {Room} room */
  set room({ participants, participant_count }) {
    const fresh = JSON.stringify([participants, participant_count]);
    if (fresh === this.#insideNow) return; // or screen readers would hear it again and again
    this.#insideNow = fresh;
    const people = Array.isArray(participants) ? participants : [];
    const names = people.map((person) => h('li', {}, avatar(person), person.name));
    const text = participant_count
      ? `${plural(participant_count, 'person is', 'people are')} inside:`
      : 'Nobody is inside yet. You can be the first.';
    this.#inside.replaceChildren(h('p', {}, text), h('ul', { class: 'faces' }, ...names));
  }

  /** @param {Room} room */
  #about(room) {
    return h(
      'section',
      { class: 'about' },
      h('p', { class: 'kicker' }, 'You are about to enter'),
      h('h1', {}, room.name),
      this.#inside,
      this.#notice,
    );
  }

  #form() {
    const test = h(
      'button',
      {
        type: 'button',
        'data-testid': 'test-sound',
        click: () => {
          void this.#testSound(test);
        },
      },
      icon('volume'),
      'Play a test sound',
    );
    const form = h(
      'form',
      { class: 'card' },
      h('div', { class: 'field' }, h('label', { for: this.#name.id }, 'Your name'), this.#name),
      this.#hear,
      this.#speaks,
      this.#mic,
      test,
      this.#join,
    );
    form.addEventListener('submit', (event) => {
      event.preventDefault();
      void this.#submit();
    });
    return form;
  }

  /** @param {HTMLButtonElement} button */
  async #testSound(button) {
    button.disabled = true;
    try {
      await playTestSound();
      toast('Did you hear three tones? If not, check the loudspeaker.');
    } catch (error) {
      toast(/** @type {Error} */ (error).message, 'error');
    }
    button.disabled = false;
  }

  async #submit() {
    const preferences = {
      ...this.#preferences,
      name: this.#name.value.trim(),
      language: this.#hear.value,
      speaks: this.#speaks.value,
      mic: this.#mic.value,
    };
    if (!preferences.name) {
      this.#name.value = '';
      this.#name.reportValidity();
      return;
    }
    this.#join.disabled = true;
    // Inside the click, or iOS keeps the sound off.
    const webAudio = await startAudio();
    this.#microphone.enabled = true;
    savePreferences(preferences);
    /** @type {JoinChoice} */
    const detail = { preferences, webAudio };
    this.dispatchEvent(new CustomEvent('join', { detail }));
  }
}

customElements.define('prejoin-screen', PrejoinScreen);
