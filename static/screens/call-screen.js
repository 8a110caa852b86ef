import { shareUrl } from '../api.js';
import { CallBar } from '../elements/call-bar.js';
import { CaptionList } from '../elements/caption-list.js';
import { ChatPanel } from '../elements/chat-panel.js';
import { ConnectionPill } from '../elements/connection-pill.js';
import { EngineNotice } from '../elements/engine-notice.js';
import { LagBadge } from '../elements/lag-badge.js';
import { PeoplePanel } from '../elements/people-panel.js';
import { ShareLink } from '../elements/share-link.js';
import { TranscriptMenu } from '../elements/transcript-menu.js';
import { VoiceInvitation } from '../elements/voice-invitation.js';
import { announce } from '../ui/announce.js';
import { h } from '../ui/dom.js';
import { describe } from '../ui/problems.js';
import { toast } from '../ui/toast.js';

/** @typedef {import('../call/call.js').Call} Call */
/** @typedef {import('../call/protocol.js').Room} Room */
/** @typedef {import('../ui/languages.js').Languages} Languages */
/** @typedef {import('../ui/preferences.js').Preferences} Preferences */

const VIEWS = /** @type {const} */ ([
  ['captions', 'Captions'],
  ['chat', 'Messages'],
  ['people', 'People'],
]);

/** The room while one is in it. On a phone one of its three views shows at a time; on a wide screen all do. */
export class CallScreen extends HTMLElement {
  #call;
  #pill = new ConnectionPill();
  #lag = new LagBadge();
  #notice = new EngineNotice({ compact: true });
  #unread = h('span', { class: 'unread', hidden: true });
  #unreadCount = 0;
  /** @type {Map<string, HTMLButtonElement>} */
  #tabs = new Map();

  /** @param {Call} call @param {Room} room @param {Languages} languages @param {Preferences} preferences */
  constructor(call, room, languages, preferences) {
    super();
    this.#call = call;
    const chat = new ChatPanel(call, languages);
    chat.addEventListener('unread', () => this.#countUnread());
    this.append(
      this.#header(room),
      h(
        'main',
        {},
        h(
          'section',
          { class: 'view', 'data-view': 'people', 'aria-label': 'People' },
          new PeoplePanel(call, languages),
          new VoiceInvitation(call),
          new ShareLink(shareUrl(), room.name),
        ),
        h(
          'section',
          { class: 'view', 'data-view': 'captions', 'aria-label': 'Captions' },
          this.#notice,
          new CaptionList(call, languages),
        ),
        h('section', { class: 'view', 'data-view': 'chat', 'aria-label': 'Messages' }, chat),
      ),
      this.#switcher(),
      new CallBar(call, languages, preferences),
    );
    this.#choose('captions');
    this.#listen();
  }

  /** @param {Room} room */
  #header(room) {
    return h(
      'header',
      { class: 'room-header' },
      h('img', { src: '/static/logo.svg', alt: '', width: 28, height: 28 }),
      h('h1', {}, room.name),
      this.#pill,
      this.#lag,
      new TranscriptMenu(room.id, () => this.#call.options.language),
    );
  }

  #switcher() {
    const tabs = VIEWS.map(([view, label]) => {
      const tab = h(
        'button',
        { type: 'button', 'data-testid': `tab-${view}`, click: () => this.#choose(view) },
        label,
        view === 'chat' && this.#unread,
      );
      this.#tabs.set(view, tab);
      return tab;
    });
    return h('nav', { class: 'switcher', 'aria-label': 'Views' }, ...tabs);
  }

  /** @param {string} view */
  #choose(view) {
    this.dataset.view = view;
    for (const [name, tab] of this.#tabs) tab.setAttribute('aria-current', String(name === view));
    if (view === 'chat') this.#setUnread(0);
  }

  #countUnread() {
    if (this.dataset.view !== 'chat') this.#setUnread(this.#unreadCount + 1);
  }

  /** @param {number} count */
  #setUnread(count) {
    this.#unreadCount = count;
    this.#unread.hidden = count === 0;
    this.#unread.textContent = String(count);
    this.#unread.setAttribute('aria-label', `${count} unread`);
  }

  #listen() {
    const call = this.#call;
    /** @param {string} name @param {(detail: any) => void} heard */
    const on = (name, heard) =>
      call.addEventListener(name, (event) => heard(/** @type {CustomEvent} */ (event).detail));
    this.#pill.state = call.state;
    on('state', (state) => {
      this.#pill.state = state;
    });
    on('engine', (engine) => {
      this.#notice.engine = engine;
    });
    on('lag', ({ lag_ms, language }) => {
      if (language === call.options.language) this.#lag.show(lag_ms);
    });
    on('joined', ({ name }) => announce(`${name} joined.`));
    on('left', ({ name }) => announce(`${name} left.`));
    on('problem', (problem) => {
      const { title, text, retry } = describe(problem);
      toast(`${title}. ${text} ${retry}`.trim(), 'error');
    });
  }
}

customElements.define('call-screen', CallScreen);
