import { startAudio } from '../call/audio.js';
import { EngineNotice } from '../elements/engine-notice.js';
import { MicPicker } from '../elements/mic-picker.js';
import { h, setText } from '../ui/dom.js';
import { plural } from '../ui/people.js';
import { loadPreferences, savePreferences } from '../ui/preferences.js';
import { masthead } from './masthead.js';

/** @typedef {import('../call/microphone.js').Microphone} Microphone */
/** @typedef {import('../call/protocol.js').Dialogue} Dialogue */

/** Before the conversation: does the microphone work, is there a seat? Fires `begin` with whether Web Audio runs. */
export class TalkDoor extends HTMLElement {
  #microphone;
  #mic;
  #notice = new EngineNotice({ what: 'voice' });
  #seats = h('p', { class: 'note', role: 'status' });
  #begin = h('button', { type: 'submit', class: 'primary large', 'data-testid': 'begin-button' }, 'Begin to talk');

  /** @param {Dialogue} dialogue @param {Microphone} microphone */
  constructor(dialogue, microphone) {
    super();
    this.setAttribute('role', 'main');
    this.#microphone = microphone;
    this.#mic = new MicPicker(
      microphone,
      loadPreferences().mic,
      'You will hear the voice, and it will not hear you. You can turn a microphone on later.',
    );
    this.dialogue = dialogue;
    const form = h('form', { class: 'card' }, this.#mic, this.#seats, this.#begin);
    form.addEventListener('submit', (event) => {
      event.preventDefault();
      void this.#submit();
    });
    this.append(
      masthead(),
      h('h1', {}, 'Talk with a voice'),
      h('p', { class: 'lead' }, 'It listens while it speaks: say something at any time. Headphones help.'),
      this.#notice,
      form,
    );
  }

  /** @param {Dialogue} dialogue */
  set dialogue(dialogue) {
    this.#notice.engine = dialogue;
    const free = dialogue.seats - dialogue.seats_taken;
    const waiting = dialogue.waiting ? `, ${plural(dialogue.waiting, 'person waits', 'people wait')}` : '';
    setText(this.#seats, free > 0 ? '' : `All seats are taken${waiting}. You can stand in line.`);
  }

  async #submit() {
    this.#begin.disabled = true;
    // Inside the click, or iOS keeps the sound off.
    const webAudio = await startAudio();
    this.#microphone.enabled = true;
    savePreferences({ mic: this.#mic.value });
    this.dispatchEvent(new CustomEvent('begin', { detail: webAudio }));
  }
}

customElements.define('talk-door', TalkDoor);
