import { h, icon, setIcon, setText } from '../ui/dom.js';
import { toast } from '../ui/toast.js';
import { LevelMeter } from './level-meter.js';

/** @typedef {EventTarget & Pick<import('../call/call.js').Call,
 *   'hasMicrophone' | 'microphone' | 'muted' | 'openMicrophone' | 'setMuted'>} Call */

/** The microphone button: a switch, or with push to talk a key to hold down. Without a microphone it opens one. */
export class MuteButton extends HTMLElement {
  #call;
  #symbol = icon('mic');
  #label = h('span');
  #meter = new LevelMeter();
  #button = h('button', { type: 'button', 'data-testid': 'mute-button' }, this.#symbol, this.#label, this.#meter);
  #pushToTalk = false;

  /** @param {Call} call */
  constructor(call) {
    super();
    this.#call = call;
    this.append(this.#button);
    this.#button.addEventListener('click', () => {
      if (!this.pushToTalk) this.toggle();
    });
    this.#button.addEventListener('pointerdown', (event) => {
      if (!this.pushToTalk) return;
      this.#button.setPointerCapture(event.pointerId);
      this.talk(true);
    });
    for (const end of ['pointerup', 'pointercancel']) {
      this.#button.addEventListener(end, () => {
        if (this.pushToTalk) this.talk(false);
      });
    }
    call.addEventListener('me', () => this.#show());
    call.addEventListener('tick', () => {
      this.#meter.level = call.microphone.level();
    });
    this.#show();
  }

  /** Whether it is held down to talk: not while there is no microphone to open first. */
  get pushToTalk() {
    return this.#pushToTalk && this.#call.hasMicrophone;
  }

  /** @param {boolean} on */
  set pushToTalk(on) {
    this.#pushToTalk = on;
    this.#call.setMuted(on); // one that is opened later, too
    this.#show();
  }

  toggle() {
    if (!this.#call.hasMicrophone) void this.#openMicrophone();
    else if (!this.pushToTalk) this.#call.setMuted(!this.#call.muted);
  }

  /** @param {boolean} talking */
  talk(talking) {
    if (this.#call.hasMicrophone && this.#call.muted === talking) this.#call.setMuted(!talking);
  }

  async #openMicrophone() {
    try {
      await this.#call.openMicrophone();
    } catch (error) {
      toast(/** @type {Error} */ (error).message, 'error');
    }
  }

  #show() {
    const { hasMicrophone, muted } = this.#call;
    const words = !hasMicrophone
      ? 'Turn on microphone'
      : this.#pushToTalk
        ? muted
          ? 'Hold to talk'
          : 'Talking'
        : muted
          ? 'Unmute'
          : 'Mute';
    setText(this.#label, words);
    setIcon(this.#symbol, muted ? 'mic-off' : 'mic');
    this.#button.title = hasMicrophone && !this.#pushToTalk ? `${words} (M)` : words;
    this.classList.toggle('is-muted', hasMicrophone && muted);
  }
}

customElements.define('mute-button', MuteButton);
