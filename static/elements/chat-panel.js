import { announce } from '../ui/announce.js';
import { h, icon } from '../ui/dom.js';
import { Follower } from '../ui/follower.js';
import { avatar, paint } from '../ui/people.js';
import { replayButton } from '../ui/replay.js';
import { toast } from '../ui/toast.js';

/** @typedef {import('../call/call.js').Call} Call */
/** @typedef {import('../call/protocol.js').ChatMessage} ChatMessage */
/** @typedef {import('../ui/languages.js').Languages} Languages */

const MAX_LENGTH = 2_000;
const KEEP = 300;

/** Typed messages: written in one's own language, read by each in theirs. Fires `unread` when one arrives. */
export class ChatPanel extends HTMLElement {
  #call;
  #languages;
  /** @type {Map<string, HTMLElement>} */
  #messages = new Map();
  #list = h('div', { class: 'scroller', tabindex: 0, role: 'region', 'aria-label': 'Messages' });
  #empty = h('p', { class: 'empty' }, 'What you type, everybody reads in their own language.');
  #follower = new Follower(this.#list, 'Latest messages');
  #input = h('textarea', {
    rows: 1,
    dir: 'auto',
    maxlength: MAX_LENGTH,
    placeholder: 'Write in your language',
    'aria-label': 'Message',
    'data-testid': 'chat-input',
  });

  /** @param {Call} call @param {Languages} languages */
  constructor(call, languages) {
    super();
    this.#call = call;
    this.#languages = languages;
    const send = h(
      'button',
      { type: 'submit', class: 'primary', 'aria-label': 'Send', title: 'Send', 'data-testid': 'chat-send' },
      icon('send'),
    );
    const form = h('form', { class: 'composer' }, this.#input, send);
    form.addEventListener('submit', (event) => {
      event.preventDefault();
      this.#send();
    });
    this.#input.addEventListener('keydown', (event) => {
      if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      this.#send();
    });
    this.#list.append(this.#empty);
    this.append(h('h2', {}, 'Messages'), this.#list, this.#follower.button, form);
    call.addEventListener('chat', (event) => this.#show(/** @type {CustomEvent} */ (event).detail));
  }

  #send() {
    const text = this.#input.value.trim();
    if (!text) return;
    if (this.#call.sendChat(text)) this.#input.value = '';
    else toast('You are not connected just now. Your message stays in the field: send it again in a moment.', 'error');
  }

  /** @param {ChatMessage} message */
  #show(message) {
    this.#empty.remove();
    const mine = message.participant_id === this.#call.participant?.id;
    const fresh = this.#element(message, mine);
    const shown = this.#messages.get(message.message_id);
    this.#messages.set(message.message_id, fresh);
    if (shown) shown.replaceWith(fresh);
    else this.#list.append(fresh);
    if (this.#messages.size > KEEP) this.#forgetOldest();
    this.#follower.follow();
    if (mine || shown) return;
    announce(`Message from ${message.name}: ${message.text}`);
    this.dispatchEvent(new CustomEvent('unread'));
  }

  #forgetOldest() {
    const [[id, element]] = this.#messages;
    element.remove();
    this.#messages.delete(id);
  }

  /** @param {ChatMessage} message @param {boolean} mine */
  #element(message, mine) {
    const { participant_id, name, text, original_text, language, source_language, utterance_id } = message;
    const person = { id: participant_id, name };
    const body = h('p', { class: 'body', dir: 'auto', lang: language }, text);
    const translated = Boolean(original_text) && original_text !== text;
    const element = h(
      'article',
      {
        class: mine ? 'message is-mine' : 'message',
        'data-testid': 'chat-message',
        'data-message-id': message.message_id,
      },
      h(
        'p',
        { class: 'speaker' },
        avatar(person),
        h('strong', {}, mine ? 'You' : name),
        utterance_id &&
          this.#canSpeak(language) &&
          replayButton(utterance_id, () => this.#call.options.language, `Hear the message of ${name}`),
      ),
      body,
      translated &&
        h(
          'details',
          { class: 'original-text' },
          h('summary', {}, `Translated from ${this.#languages.english(source_language)}`),
          h('p', { dir: 'auto', lang: source_language }, original_text),
        ),
    );
    paint(element, participant_id);
    return element;
  }

  /** @param {string} language */
  #canSpeak(language) {
    return this.#languages.get(language)?.speech_out ?? false;
  }
}

customElements.define('chat-panel', ChatPanel);
