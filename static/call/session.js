import { getIceServers, isThere } from '../api.js';
import { CaptionBook } from './captions.js';
import { Hearing } from './hearing.js';
import { Link } from './link.js';
import { Roster } from './roster.js';

/** @typedef {import('./link.js').LinkState} LinkState */
/** @typedef {import('./microphone.js').Microphone} Microphone */
/** @typedef {import('./protocol.js').Engine} Engine */
/** @typedef {import('./protocol.js').Problem} Problem */
/** @typedef {import('./protocol.js').ServerMessage} ServerMessage */

/**
 * @typedef {object} Purpose  what somebody came for
 * @property {string} path of the WebSocket
 * @property {() => Record<string, unknown>} introduce the fields of `session.join` that say who I am
 * @property {() => Promise<unknown>} look asks the server for it: an ApiError of status 404 means that it is no more
 * @property {number} balance between the original voices and the translations, 0 to 1
 */

const TICK_MS = 100;

/**
 * What a room's call and a conversation have in common: a microphone, a link to the server, what is heard. They tell by
 * events, whose `detail` is named:
 *
 * - `state` LinkState · `me` nothing · `engine` Engine · `problem` Problem (it goes on) · `ended` Problem | null (it does
 *   not) · `tick` nothing, ten times a second
 */
export class Session extends EventTarget {
  #ticker = 0;
  /** @protected */
  link;
  /** @protected */
  hearing;
  /** @protected */
  captions = new CaptionBook();

  microphone;
  roster = new Roster();
  /** @type {LinkState} */
  state = 'connecting';
  /** @type {Engine | null} */
  engine = null;
  /** Oneself, once joined. @type {import('./protocol.js').Participant | null} */
  participant = null;

  /** @param {Purpose} purpose @param {Microphone} microphone @param {boolean} webAudio */
  constructor({ path, introduce, look, balance }, microphone, webAudio) {
    super();
    this.microphone = microphone;
    this.hearing = new Hearing(this.roster, balance, webAudio);
    const url = new URL(path, location.href);
    url.protocol = url.protocol.replace('http', 'ws');
    this.link = new Link({
      url: url.href,
      introduce,
      track: () => microphone.track,
      iceServers: getIceServers,
      isGone: async () => !(await isThere(look)),
      receive: (message) => this.receive(message),
      adopt: (peer) => this.hearing.attach(peer.slots()),
      stateChanged: (state, problem) => this.#stateChanged(state, problem),
    });
  }

  get pc() {
    return this.link.peer?.pc ?? null;
  }

  get socket() {
    return this.link.socket;
  }

  get slots() {
    return this.roster.slots;
  }

  get muted() {
    return !this.microphone.track || !this.microphone.enabled;
  }

  get hasMicrophone() {
    return this.microphone.track !== null;
  }

  start() {
    // A permission may be given when one is inside already.
    this.microphone.onopened = () => {
      void this.link.peer?.setMicrophone(this.microphone.track).catch(() => {}); // it was closed: the next one has it
      this.#microphoneChanged();
    };
    this.microphone.onlost = () => {
      this.#microphoneChanged();
      this.emit('problem', { code: 'microphone_lost', message: '', fatal: false });
    };
    this.#ticker = window.setInterval(() => this.tick(), TICK_MS);
    window.addEventListener('pagehide', this.#leaveNow);
    void this.link.run();
  }

  leave() {
    this.link.leave();
  }

  /** @param {boolean} muted */
  setMuted(muted) {
    this.microphone.enabled = !muted;
    this.#microphoneChanged();
  }

  /** Opens a microphone, or another one, in the middle of the call. @param {string} [deviceId] */
  async openMicrophone(deviceId) {
    await this.microphone.open(deviceId);
  }

  /** @protected @param {ServerMessage} message @returns {unknown} */
  receive(message) {
    const data = /** @type {any} */ (message);
    switch (message.type) {
      case 'session.joined':
        return this.joined(data);
      case 'session.state':
        return this.#setEngine({
          state: data.state,
          eta_s: data.eta_s,
          progress: data.progress,
          doing: data.doing,
          error: data.error,
        });
      case 'error':
        return this.emit('problem', data);
      default:
        return undefined; // a newer server may say more than we know
    }
  }

  /** @protected @param {import('./protocol.js').Joined} joined */
  joined({ participant, participants, slots, state, engine }) {
    this.participant = participant;
    this.roster.reset(participants, slots);
    this.#setEngine({ ...engine, state });
    this.hearing.apply(new Set(this.roster.slots.keys()));
    this.#microphoneChanged();
  }

  /** @protected */
  tick() {
    this.emit('tick');
  }

  /** @protected @param {string} name @param {unknown} [detail] */
  emit(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }

  #leaveNow = () => this.link.leave();

  #microphoneChanged() {
    if (this.participant) this.link.send(this.muted ? 'track.mute' : 'track.unmute');
    this.emit('me');
  }

  /** @param {Partial<Engine>} change */
  #setEngine(change) {
    this.engine = { name: '', notice: '', state: 'ready', ...this.engine, ...change };
    this.emit('engine', this.engine);
  }

  /** @param {LinkState} state @param {Problem | null} problem */
  #stateChanged(state, problem) {
    this.state = state;
    this.emit('state', state);
    if (state !== 'left' && state !== 'lost') return;
    clearInterval(this.#ticker);
    window.removeEventListener('pagehide', this.#leaveNow);
    this.hearing.close();
    this.microphone.close();
    this.emit('ended', problem);
  }
}
