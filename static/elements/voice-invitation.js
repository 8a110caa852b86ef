import { h, setText } from '../ui/dom.js';
import { describe } from '../ui/problems.js';

/** @typedef {import('../call/call.js').Call} Call */
/** @typedef {import('../call/protocol.js').Problem} Problem */

/** Brings the voice that one can talk with into the room, and sees it out. Nothing where the server has none. */
export class VoiceInvitation extends HTMLElement {
  #call;
  #button = h('button', { type: 'button', 'data-testid': 'voice-invite', click: () => this.#ask() });
  #note = h('p', { class: 'note', 'data-testid': 'voice-note' });
  /** It was asked to come, or to leave, and has not yet. */
  #asked = false;
  /** Why it did not come. */
  #refusal = '';

  /** @param {Call} call */
  constructor(call) {
    super();
    this.#call = call;
    this.append(this.#button, this.#note);
    let guest = call.guest?.id;
    call.addEventListener('people', () => {
      if (guest !== call.guest?.id) this.#settle('');
      guest = call.guest?.id;
      this.#show();
    });
    call.addEventListener('problem', (event) => {
      if (this.#asked) this.#settle(inWords(/** @type {CustomEvent<Problem>} */ (event).detail));
    });
    call.addEventListener('state', () => this.#settle('')); // an answer that was on its way is lost
    this.#show();
  }

  #ask() {
    if (this.#asked) return;
    this.#asked = true;
    this.#refusal = '';
    this.#call.invite(!this.#call.guest);
    this.#show();
  }

  /** @param {string} refusal */
  #settle(refusal) {
    this.#asked = false;
    this.#refusal = refusal;
    this.#show();
  }

  #show() {
    const { voice, guest } = this.#call;
    this.hidden = !voice;
    if (!voice) return;
    const asks = guest ? `Asking ${voice.name} to leave…` : `Asking ${voice.name} to come…`;
    const offers = guest ? `Ask ${voice.name} to leave` : `Invite ${voice.name}`;
    setText(this.#button, this.#asked ? asks : offers);
    // Not disabled: that would take the keyboard's place away.
    this.#button.setAttribute('aria-disabled', String(this.#asked));
    setText(this.#note, this.#refusal || voice.notice || `${voice.name} hears what is said here, and talks with you.`);
  }
}

/** @param {Problem} problem @returns {string} */
function inWords(problem) {
  const { text, retry } = describe(problem);
  return `${text} ${retry}`.trim();
}

customElements.define('voice-invitation', VoiceInvitation);
