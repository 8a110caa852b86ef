import { h, icon } from '../ui/dom.js';
import { listenToKeys } from '../ui/push-to-talk.js';
import { savePreferences } from '../ui/preferences.js';
import { hearPicker } from './language-picker.js';
import { MuteButton } from './mute-button.js';
import { SoundPanel } from './sound-panel.js';

/** @typedef {import('../call/call.js').Call} Call */
/** @typedef {import('../ui/languages.js').Languages} Languages */

/** The bar at the foot of the room: microphone, language, sound, leave. */
export class CallBar extends HTMLElement {
  #mute;
  #sound;
  #soundButton = h(
    'button',
    { type: 'button', 'aria-expanded': 'false', 'aria-controls': 'sound-panel', 'data-testid': 'sound-button' },
    icon('sliders'),
    h('span', {}, 'Sound'),
  );
  #listening = new AbortController();

  /** @param {Call} call @param {Languages} languages @param {{speaks: string, pushToTalk: boolean}} preferences */
  constructor(call, languages, preferences) {
    super();
    this.setAttribute('role', 'group');
    this.setAttribute('aria-label', 'Call controls');
    this.#mute = new MuteButton(call);
    this.#mute.pushToTalk = preferences.pushToTalk;
    this.#sound = new SoundPanel(call, languages, preferences);
    this.#sound.id = 'sound-panel';
    this.#sound.hidden = true;
    this.#sound.addEventListener('push-to-talk', (event) => {
      this.#mute.pushToTalk = /** @type {CustomEvent} */ (event).detail;
    });
    this.#soundButton.addEventListener('click', () => this.#openSound(Boolean(this.#sound.hidden)));

    const hear = hearPicker({
      label: 'I hear',
      testid: 'language-switch',
      languages,
      value: call.options.language,
      compact: true,
    });
    hear.addEventListener('change', () => {
      call.update({ language: hear.value });
      savePreferences({ language: hear.value });
      this.#sound.languageChanged();
    });
    this.append(
      this.#mute,
      h('div', { class: 'hear' }, h('span', { 'aria-hidden': 'true' }, 'I hear'), hear),
      this.#soundButton,
      this.#sound,
      h(
        'button',
        { type: 'button', class: 'leave', 'data-testid': 'leave-button', click: () => call.leave() },
        icon('leave'),
        h('span', {}, 'Leave'),
      ),
    );
  }

  connectedCallback() {
    const { signal } = this.#listening;
    listenToKeys(
      {
        toggleMute: () => this.#mute.toggle(),
        pushToTalk: () => this.#mute.pushToTalk,
        talk: (talking) => this.#mute.talk(talking),
      },
      signal,
    );
    document.addEventListener(
      'pointerdown',
      (event) => {
        if (!this.contains(/** @type {Node} */ (event.target))) this.#openSound(false);
      },
      { signal },
    );
    this.addEventListener('keydown', (event) => {
      if (event.key !== 'Escape' || this.#sound.hidden) return;
      this.#openSound(false);
      this.#soundButton.focus();
    });
  }

  disconnectedCallback() {
    this.#listening.abort();
  }

  /** @param {boolean} open */
  #openSound(open) {
    this.#sound.hidden = !open;
    this.#soundButton.setAttribute('aria-expanded', String(open));
    if (open) void this.#sound.refresh();
  }
}

customElements.define('call-bar', CallBar);
