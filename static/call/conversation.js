import { getConversation, getIceServers, isThere } from '../api.js';
import { CaptionBook } from './captions.js';
import { Hearing } from './hearing.js';
import { Link } from './link.js';
import { Roster } from './roster.js';

/** @typedef {import('./microphone.js').Microphone} Microphone */
/** @typedef {import('./protocol.js').Engine} Engine */
/** @typedef {import('./protocol.js').Place} Place */
/** @typedef {import('./protocol.js').Problem} Problem */

const TICK_MS = 100;

/** The voice's participant_id. */
export const ASSISTANT = 'assistant';

/**
 * One conversation with a voice, perhaps with a wait in line before it. It tells by events, whose `detail` is named:
 *
 * - `state` LinkState · `place` Place | null (in the line) · `engine` Engine · `me` nothing · `speech` nothing
 * - `caption` Caption · `problem` Problem (the call goes on) · `ended` Problem | null · `tick` nothing, ten times a second
 */
export class Conversation extends EventTarget {
  #link;
  #microphone;
  #hearing;
  #captions = new CaptionBook();
  #ticker = 0;

  roster = new Roster();
  /** @type {import('./link.js').LinkState} */
  state = 'connecting';
  /** @type {Engine | null} */
  engine = null;
  /** In the line. @type {Place | null} */
  place = null;
  /** @type {import('./protocol.js').Participant | null} */
  participant = null;

  /** @param {Microphone} microphone @param {boolean} webAudio */
  constructor(microphone, webAudio) {
    super();
    this.#microphone = microphone;
    this.#hearing = new Hearing(this.roster, 0.5, webAudio);
    const url = new URL('/v1/conversation/signal', location.href);
    url.protocol = url.protocol.replace('http', 'ws');
    this.#link = new Link({
      url: url.href,
      introduce: () => ({}),
      track: () => microphone.track,
      iceServers: getIceServers,
      isGone: async () => !(await isThere(getConversation)),
      receive: (message) => this.#receive(message),
      adopt: (peer) => this.#hearing.attach(peer.slots()),
      stateChanged: (state, problem) => this.#stateChanged(state, problem),
    });
  }

  get pc() {
    return this.#link.peer?.pc ?? null;
  }

  get socket() {
    return this.#link.socket;
  }

  get slots() {
    return this.roster.slots;
  }

  get microphone() {
    return this.#microphone;
  }

  get hasMicrophone() {
    return this.#microphone.track !== null;
  }

  get muted() {
    return !this.#microphone.track || !this.#microphone.enabled;
  }

  get speaking() {
    return this.roster.speaking.has(ASSISTANT);
  }

  /** How loud the voice is now, 0 to 1. */
  get level() {
    return this.#hearing.levels(ASSISTANT).original;
  }

  start() {
    this.#microphone.onlost = () => {
      this.#sayMuted();
      this.#emit('me');
      this.#emit('problem', { code: 'microphone_lost', message: '', fatal: false });
    };
    this.#ticker = window.setInterval(() => this.#emit('tick'), TICK_MS);
    window.addEventListener('pagehide', this.#leaveNow);
    void this.#link.run();
  }

  leave() {
    this.#link.leave();
  }

  /** @param {boolean} muted */
  setMuted(muted) {
    this.#microphone.enabled = !muted;
    this.#sayMuted();
    this.#emit('me');
  }

  /** @param {string} [deviceId] */
  async openMicrophone(deviceId) {
    await this.#microphone.open(deviceId);
    await this.#link.peer?.setMicrophone(this.#microphone.track);
    this.#sayMuted();
    this.#emit('me');
  }

  #leaveNow = () => this.#link.leave();

  #sayMuted() {
    if (this.participant) this.#link.send(this.muted ? 'track.mute' : 'track.unmute');
  }

  /** @param {import('./protocol.js').ServerMessage} message */
  #receive(message) {
    const data = /** @type {any} */ (message);
    switch (message.type) {
      case 'queue.position':
        this.place = { position: data.position, eta_s: data.eta_s };
        return this.#emit('place', this.place);
      case 'session.joined':
        return this.#joined(data);
      case 'session.state':
        return this.#setEngine({
          state: data.state,
          eta_s: data.eta_s,
          progress: data.progress,
          doing: data.doing,
          error: data.error,
        });
      case 'speech.started':
      case 'speech.stopped':
        this.roster.setSpeech(data.participant_id, 'original', message.type === 'speech.started');
        return this.#emit('speech');
      case 'transcript.interim':
      case 'transcript.final':
        return this.#emit('caption', this.#captions.add(data, message.type === 'transcript.final', new Date()));
      case 'error':
        return this.#emit('problem', data);
      default:
        return undefined; // a newer server may say more than we know
    }
  }

  /** @param {import('./protocol.js').Joined} joined */
  #joined({ participant, participants, slots, state, engine }) {
    this.participant = participant;
    this.place = null;
    this.roster.reset(participants, slots);
    this.#setEngine({ ...engine, state });
    this.#sayMuted();
    this.#hearing.apply(new Set(this.roster.slots.keys()));
    this.#emit('place', null);
    this.#emit('me');
  }

  /** @param {Partial<Engine>} change */
  #setEngine(change) {
    this.engine = { name: '', notice: '', state: 'ready', ...this.engine, ...change };
    this.#emit('engine', this.engine);
  }

  /** @param {import('./link.js').LinkState} state @param {Problem | null} problem */
  #stateChanged(state, problem) {
    this.state = state;
    this.#emit('state', state);
    if (state !== 'left' && state !== 'lost') return;
    clearInterval(this.#ticker);
    window.removeEventListener('pagehide', this.#leaveNow);
    this.#hearing.close();
    this.#microphone.close();
    this.#emit('ended', problem);
  }

  /** @param {string} name @param {unknown} [detail] */
  #emit(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }
}
