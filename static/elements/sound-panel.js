import { h } from '../ui/dom.js';
import { savePreferences } from '../ui/preferences.js';
import { toast } from '../ui/toast.js';
import { Microphone } from '../call/microphone.js';
import { sameAs, speaksPicker } from './language-picker.js';

/** @typedef {import('../call/call.js').Call} Call */
/** @typedef {import('../call/protocol.js').Mix} Mix */
/** @typedef {import('../call/protocol.js').Mode} Mode */
/** @typedef {import('../ui/languages.js').Languages} Languages */

const MIXES = /** @type {[Mix, string][]} */ ([
  ['both', 'The voice, softened under the interpreter'],
  ['translated', 'Only the interpreter'],
  ['original', 'Only the original voice'],
]);

const MODES = /** @type {[Mode, string][]} */ ([
  ['simultaneous', 'While somebody speaks, clause by clause'],
  ['consecutive', 'When somebody has said a sentence'],
]);

/** What one hears and what one speaks: the settings that need no constant place on the screen. */
export class SoundPanel extends HTMLElement {
  #call;
  #languages;
  #speaks;
  #mic = h('select', { id: 'call-mic', 'data-testid': 'mic-switch' });

  /** @param {Call} call @param {Languages} languages @param {{speaks: string, pushToTalk: boolean}} preferences */
  constructor(call, languages, preferences) {
    super();
    this.#call = call;
    this.#languages = languages;
    const hear = () => call.options.language;
    this.#speaks = speaksPicker({
      label: 'I speak',
      testid: 'speaks-switch',
      languages,
      value: preferences.speaks,
      hear,
    });
    this.#speaks.addEventListener('change', () => this.#sayWhatISpeak());
    this.#mic.addEventListener('change', () => {
      void this.#switchMicrophone();
    });
    this.append(
      this.#mix(),
      this.#balance(),
      this.#mode(),
      this.#speaks,
      h('div', { class: 'field' }, h('label', { for: 'call-mic' }, 'Microphone'), this.#mic),
      this.#pushToTalk(preferences.pushToTalk),
    );
  }

  /** Call it when the panel opens. */
  async refresh() {
    this.#speaks.setExtra(sameAs(this.#languages, this.#call.options.language));
    const devices = await Microphone.list();
    const options = devices.map(({ deviceId, label }, i) =>
      h('option', { value: deviceId }, label || `Microphone ${i + 1}`),
    );
    if (!this.#call.hasMicrophone) options.unshift(h('option', { value: '' }, 'None: I only listen'));
    this.#mic.replaceChildren(...options);
    this.#mic.value = this.#call.microphone.deviceId;
  }

  /** The language heard has changed; what I speak may be "the same". */
  languageChanged() {
    if (!this.#speaks.value) this.#sayWhatISpeak();
  }

  #sayWhatISpeak() {
    savePreferences({ speaks: this.#speaks.value });
    this.#call.update({ speaks: this.#speaks.value || this.#call.options.language });
  }

  async #switchMicrophone() {
    try {
      await this.#call.openMicrophone(this.#mic.value);
      savePreferences({ mic: this.#mic.value });
    } catch (error) {
      toast(/** @type {Error} */ (error).message, 'error');
    }
    await this.refresh();
  }

  #mix() {
    const select = h(
      'select',
      { id: 'mix', 'data-testid': 'mix-select' },
      ...MIXES.map(([mix, label]) => h('option', { value: mix }, label)),
    );
    select.value = this.#call.options.mix;
    select.addEventListener('change', () => {
      const mix = /** @type {Mix} */ (select.value);
      this.#call.update({ mix });
      savePreferences({ mix });
    });
    return h('div', { class: 'field' }, h('label', { for: 'mix' }, 'When somebody is interpreted, I hear'), select);
  }

  #mode() {
    const select = h(
      'select',
      { id: 'mode', 'data-testid': 'mode-select' },
      ...MODES.map(([mode, label]) => h('option', { value: mode }, label)),
    );
    const show = () => {
      select.value = this.#call.mode;
    };
    show();
    this.#call.addEventListener('room', show);
    select.addEventListener('change', () => this.#call.setMode(/** @type {Mode} */ (select.value)));
    return h('div', { class: 'field' }, h('label', { for: 'mode' }, 'For everybody here, the interpreter speaks'), select);
  }

  #balance() {
    const slider = h('input', {
      id: 'balance',
      type: 'range',
      min: 0,
      max: 100,
      step: 5,
      value: this.#call.options.balance * 100,
      'data-testid': 'balance',
    });
    slider.addEventListener('input', () => {
      const balance = Number(slider.value) / 100;
      this.#call.setBalance(balance);
      savePreferences({ balance });
    });
    return h(
      'div',
      { class: 'field' },
      h('label', { for: 'balance' }, 'Balance'),
      slider,
      h('div', { class: 'ends', 'aria-hidden': 'true' }, h('span', {}, 'Original'), h('span', {}, 'Interpreter')),
    );
  }

  /** @param {boolean} on */
  #pushToTalk(on) {
    const box = h('input', { type: 'checkbox', id: 'push-to-talk', checked: on, 'data-testid': 'push-to-talk' });
    box.addEventListener('change', () => {
      savePreferences({ pushToTalk: box.checked });
      this.dispatchEvent(new CustomEvent('push-to-talk', { bubbles: true, detail: box.checked }));
    });
    return h(
      'label',
      { class: 'check', for: 'push-to-talk' },
      box,
      h('span', {}, 'Push to talk: hold the space bar, or the button'),
    );
  }
}

customElements.define('sound-panel', SoundPanel);
