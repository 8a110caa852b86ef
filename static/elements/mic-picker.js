import { Microphone } from '../call/microphone.js';
import { freshId, h, setText } from '../ui/dom.js';
import { LevelMeter } from './level-meter.js';

const NONE = 'none';
const METER_EVERY_MS = 80;

/** Chooses and opens the microphone, and shows that it hears. "No microphone" is a choice like any other. */
export class MicPicker extends HTMLElement {
  #microphone;
  #wanted;
  #without;
  #id = freshId('mic');
  #select = h('select', {
    id: this.#id,
    'data-testid': 'mic-select',
    change: () => {
      void this.#choose();
    },
  });
  #meter = new LevelMeter('Microphone level');
  #status = h('p', { class: 'note', 'aria-live': 'polite', 'data-testid': 'mic-status' });
  #retry = h(
    'button',
    {
      type: 'button',
      class: 'quiet',
      hidden: true,
      click: () => {
        void this.#open('');
      },
    },
    'Try the microphone again',
  );
  #timer = 0;

  /** @param {Microphone} microphone @param {string} wanted device id, `none`, or empty
   * @param {string} without what it is to have none */
  constructor(microphone, wanted, without) {
    super();
    this.#microphone = microphone;
    this.#wanted = wanted;
    this.#without = without;
    this.append(h('label', { for: this.#id }, 'Microphone'), this.#select, this.#meter, this.#status, this.#retry);
  }

  /** What to remember: a device id, or `none` if that was chosen: a microphone that was refused is asked for next time. */
  get value() {
    return this.#microphone.track ? this.#select.value : this.#wanted;
  }

  connectedCallback() {
    this.#timer = window.setInterval(() => {
      this.#meter.level = this.#microphone.level();
    }, METER_EVERY_MS);
    navigator.mediaDevices?.addEventListener('devicechange', this.#devicesChanged);
    this.#microphone.onlost = () => {
      this.#off('The microphone is gone. Was it unplugged? You can also only listen.');
      this.#retry.hidden = false;
      void this.#list();
    };
    void (this.#wanted === NONE ? this.#listenOnly() : this.#open(this.#wanted));
  }

  disconnectedCallback() {
    clearInterval(this.#timer);
    navigator.mediaDevices?.removeEventListener('devicechange', this.#devicesChanged);
  }

  #devicesChanged = () => {
    void this.#list();
  };

  async #choose() {
    this.#wanted = this.#select.value;
    await (this.#select.value === NONE ? this.#listenOnly() : this.#open(this.#select.value));
  }

  /** @param {string} deviceId */
  async #open(deviceId) {
    setText(this.#status, 'Your browser may ask whether this page can use the microphone.');
    this.#retry.hidden = true;
    try {
      if (!(await this.#microphone.open(deviceId))) return;
      setText(this.#status, 'Say something: the bar should move.');
      this.classList.remove('is-off');
    } catch (error) {
      this.#off(/** @type {Error} */ (error).message);
      this.#retry.hidden = false;
    }
    await this.#list();
  }

  async #listenOnly() {
    this.#off(this.#without);
    await this.#list();
  }

  /** @param {string} why */
  #off(why) {
    this.#microphone.close();
    this.classList.add('is-off');
    setText(this.#status, why);
  }

  async #list() {
    const devices = await Microphone.list();
    const options = devices.map(({ deviceId, label }, i) =>
      h('option', { value: deviceId }, label || (i ? `Microphone ${i + 1}` : 'Microphone')),
    );
    this.#select.replaceChildren(...options, h('option', { value: NONE }, 'No microphone: I only listen'));
    this.#select.value = this.#microphone.track ? this.#microphone.deviceId : NONE;
    if (this.#select.selectedIndex < 0) this.#select.selectedIndex = 0;
  }
}

customElements.define('mic-picker', MicPicker);
