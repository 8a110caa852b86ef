import { ASSISTANT } from '../call/conversation.js';
import { CaptionEntry } from '../elements/caption-entry.js';
import { ConnectionPill } from '../elements/connection-pill.js';
import { EngineNotice } from '../elements/engine-notice.js';
import { MuteButton } from '../elements/mute-button.js';
import { h, icon, setText } from '../ui/dom.js';
import { Follower } from '../ui/follower.js';
import { describe } from '../ui/problems.js';
import { toast } from '../ui/toast.js';

/** @typedef {import('../call/captions.js').Caption} Caption */
/** @typedef {import('../call/conversation.js').Conversation} Conversation */

const KEEP = 200;

/** The conversation while it goes on, and the line before it. */
export class TalkScreen extends HTMLElement {
  #call;
  #pill = new ConnectionPill();
  #notice = new EngineNotice({ compact: true, what: 'voice' });
  #says = h('p', { role: 'status', 'data-testid': 'voice-state' });
  #voice = h('section', { class: 'voice', 'aria-label': 'The voice' }, h('div', { class: 'orb' }), this.#says);
  #scroller = h('div', { class: 'scroller', tabindex: 0, role: 'region', 'aria-label': 'What was said' });
  #follower = new Follower(this.#scroller, 'Latest words');
  /** @type {Map<string, CaptionEntry>} */
  #entries = new Map();

  /** @param {Conversation} call */
  constructor(call) {
    super();
    this.#call = call;
    const end = h(
      'button',
      { type: 'button', class: 'leave', 'data-testid': 'leave-button', click: () => call.leave() },
      icon('leave'),
      h('span', {}, 'End'),
    );
    const bar = h('div', { class: 'talk-bar', role: 'group', 'aria-label': 'Call controls' }, new MuteButton(call), end);
    this.append(
      h(
        'header',
        { class: 'room-header' },
        h('img', { src: '/static/logo.svg', alt: '', width: 28, height: 28 }),
        h('h1', {}, 'Talk'),
        this.#pill,
      ),
      h('div', {}, this.#notice, this.#voice),
      h('main', { class: 'captions' }, this.#scroller, this.#follower.button),
      bar,
    );
    this.#listen();
    this.#show();
  }

  #listen() {
    const call = this.#call;
    /** @param {string} name @param {(detail: any) => void} heard */
    const on = (name, heard) =>
      call.addEventListener(name, (event) => heard(/** @type {CustomEvent} */ (event).detail));
    for (const name of ['state', 'place', 'speech', 'me']) on(name, () => this.#show());
    on('engine', (engine) => {
      this.#notice.engine = engine;
    });
    on('caption', (caption) => this.#caption(caption));
    on('tick', () => this.#voice.style.setProperty('--level', call.level.toFixed(2)));
    on('problem', (problem) => {
      const { title, text, retry } = describe(problem);
      toast(`${title}. ${text} ${retry}`.trim(), 'error');
    });
  }

  #show() {
    const { state, place, speaking } = this.#call;
    this.#pill.state = state;
    this.#voice.dataset.state = place ? 'waiting' : speaking ? 'speaking' : 'listening';
    setText(this.#says, place ? inLine(place) : speaking ? 'Speaking' : state === 'connected' ? 'Listening' : '');
  }

  /** @param {Caption} caption */
  #caption(caption) {
    let entry = this.#entries.get(caption.key);
    if (!entry) {
      const id = caption.participantId;
      const name = id === ASSISTANT ? (this.#call.roster.people.get(id)?.name ?? 'The voice') : 'You';
      entry = new CaptionEntry(caption, { id, name }, () => 'en');
      this.#entries.set(caption.key, entry);
      this.#scroller.append(entry);
      if (this.#entries.size > KEEP) this.#forgetOldest();
    }
    entry.show(caption, false);
    this.#follower.follow();
  }

  #forgetOldest() {
    const [[key, entry]] = this.#entries;
    entry.remove();
    this.#entries.delete(key);
  }
}

/** @param {import('../call/protocol.js').Place} place */
function inLine({ position, eta_s }) {
  const before = position === 1 ? 'You are next' : `You are number ${position} in line`;
  const wait = eta_s < 90 ? `${Math.max(1, Math.ceil(eta_s))} s` : `${Math.round(eta_s / 60)} minutes`;
  return `${before}: about ${wait}. You come in by yourself.`;
}

customElements.define('talk-screen', TalkScreen);
