import { getIceServers, getRoom, isThere } from '../api.js';
import { CaptionBook } from './captions.js';
import { Hearing } from './hearing.js';
import { Link } from './link.js';
import { Roster } from './roster.js';
import { SpokenTracker } from './spoken.js';
import { callStats } from './stats.js';

/** @typedef {import('./protocol.js').Engine} Engine */
/** @typedef {import('./protocol.js').Mix} Mix */
/** @typedef {import('./protocol.js').Mode} Mode */
/** @typedef {import('./protocol.js').Participant} Participant */
/** @typedef {import('./protocol.js').Problem} Problem */
/** @typedef {import('./protocol.js').ServerMessage} ServerMessage */
/** @typedef {import('./microphone.js').Microphone} Microphone */

/** @typedef {{roomId: string, name: string, language: string, speaks: string, mix: Mix, balance: number}} CallOptions */

const TICK_MS = 100;

/**
 * One call, from joining to leaving: what the room page shows and what its buttons do. It tells by events, whose
 * `detail` is named here:
 *
 * - `state` LinkState · `people` nothing (the roster changed) · `joined`/`left` Participant · `me` nothing
 * - `caption` {caption, final: Transcript | null} · `chat` ChatMessage · `lag` Lag · `engine` Engine
 * - `room` nothing (its mode changed) · `problem` Problem (the call goes on) · `ended` Problem | null (it does not)
 * - `tick` nothing, ten times a second
 */
export class Call extends EventTarget {
  #link;
  #microphone;
  #hearing;
  #captions = new CaptionBook();
  #spoken = new SpokenTracker();
  #ticker = 0;

  roster = new Roster();
  /** @type {import('./link.js').LinkState} */
  state = 'connecting';
  /** @type {Engine | null} */
  engine = null;
  /** How the room is interpreted. @type {Mode} */
  mode = 'simultaneous';
  /** Oneself, once joined. @type {Participant | null} */
  participant = null;

  /** @param {CallOptions} options @param {Microphone} microphone @param {boolean} webAudio */
  constructor(options, microphone, webAudio) {
    super();
    this.options = { ...options };
    this.#microphone = microphone;
    this.#hearing = new Hearing(this.roster, options.balance, webAudio);
    const url = new URL(`/v1/rooms/${encodeURIComponent(options.roomId)}/signal`, location.href);
    url.protocol = url.protocol.replace('http', 'ws');
    this.#link = new Link({
      url: url.href,
      introduce: () => {
        const { name, language, speaks, mix } = this.options;
        return { name, language, speaks, mix };
      },
      track: () => microphone.track,
      iceServers: getIceServers,
      isGone: async () => !(await isThere(() => getRoom(options.roomId))),
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

  get muted() {
    return !this.#microphone.track || !this.#microphone.enabled;
  }

  get hasMicrophone() {
    return this.#microphone.track !== null;
  }

  get microphone() {
    return this.#microphone;
  }

  start() {
    this.#microphone.onlost = () => {
      this.#sayMuted();
      this.#emit('me');
      this.#emit('problem', { code: 'microphone_lost', message: '', fatal: false });
    };
    this.#ticker = window.setInterval(() => this.#tick(), TICK_MS);
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

  /** Opens a microphone, or another one, in the middle of the call. @param {string} [deviceId] */
  async openMicrophone(deviceId) {
    await this.#microphone.open(deviceId);
    await this.#link.peer?.setMicrophone(this.#microphone.track);
    this.#sayMuted();
    this.#emit('me');
  }

  /** @param {Partial<Pick<CallOptions, 'name' | 'language' | 'speaks' | 'mix'>>} change */
  update(change) {
    Object.assign(this.options, change);
    this.#link.send('session.update', change);
    if (change.language) {
      this.#spoken.clear();
      this.roster.interpreting.clear();
    }
    this.#hearing.apply();
  }

  /** For everybody in the room. @param {Mode} mode */
  setMode(mode) {
    this.#link.send('room.update', { mode });
  }

  /** @param {string} text */
  sendChat(text) {
    this.#link.send('chat.send', { text });
  }

  /** @param {number} balance */
  setBalance(balance) {
    this.options.balance = balance;
    this.#hearing.setBalance(balance);
  }

  /** @param {string} participantId @param {number} volume 0 to 2 */
  setVolume(participantId, volume) {
    this.#hearing.setVolume(participantId, volume);
  }

  /** How loud somebody is now, in their own voice and in translation. @param {string} participantId */
  levels(participantId) {
    if (participantId === this.participant?.id) return { original: this.#microphone.level(), translation: 0 };
    return this.#hearing.levels(participantId);
  }

  async stats() {
    return this.pc ? callStats(this.pc, this.roster.slots, (mid) => this.#hearing.level(mid)) : null;
  }

  #leaveNow = () => this.#link.leave();

  /** @param {ServerMessage} message */
  #receive(message) {
    const data = /** @type {any} */ (message);
    switch (message.type) {
      case 'session.joined':
        return this.#joined(data);
      case 'session.updated':
        return this.#person(data.participant);
      case 'session.state':
        return this.#stateOfEngine(data);
      case 'room.updated':
        return this.#setRoom(data.room);
      case 'participant.joined':
        this.#person(data.participant);
        return this.#emit('joined', data.participant);
      case 'participant.updated':
        return this.#person(data.participant);
      case 'participant.left':
        return this.#left(data.participant?.id ?? data.participant_id);
      case 'slots.updated':
        return this.#setSlots(data.slots);
      case 'speech.started':
        return this.#speech(data, true);
      case 'speech.stopped':
        return this.#speech(data, false);
      case 'transcript.interim':
        return this.#transcript(data, false);
      case 'transcript.final':
        return this.#transcript(data, true);
      case 'translation.lag':
        return this.#emit('lag', data);
      case 'chat.message':
        return this.#emit('chat', data);
      case 'error':
        return this.#emit('problem', data);
      default:
        return undefined; // a newer server may say more than we know
    }
  }

  /** @param {import('./protocol.js').Joined} joined */
  #joined({ participant, room, participants, slots, state, engine }) {
    this.participant = participant;
    this.roster.reset(participants, slots);
    this.#spoken.clear();
    this.#setEngine({ ...engine, state });
    this.#setRoom(room);
    this.#sayMuted();
    this.#hearing.apply(new Set(this.roster.slots.keys()));
    this.#emit('people');
    this.#emit('me');
  }

  /** @param {Partial<Engine>} change */
  #setEngine(change) {
    this.engine = { name: '', notice: '', state: 'ready', ...this.engine, ...change };
    this.#emit('engine', this.engine);
  }

  /** @param {Engine} engine without its name */
  #stateOfEngine({ state, eta_s, progress, doing, error }) {
    this.#setEngine({ state, eta_s, progress, doing, error });
  }

  /** @param {import('./protocol.js').Card} room */
  #setRoom({ mode }) {
    this.mode = mode;
    this.#emit('room');
  }

  /** @param {Participant} person */
  #person(person) {
    this.roster.people.set(person.id, person);
    if (person.id === this.participant?.id) {
      this.participant = person;
      this.#emit('me');
    }
    this.#emit('people');
  }

  /** @param {string} id */
  #left(id) {
    const person = this.roster.people.get(id);
    this.roster.remove(id);
    if (person) this.#emit('left', person);
    this.#emit('people');
  }

  /** @param {import('./protocol.js').Slot[]} slots */
  #setSlots(slots) {
    this.#hearing.apply(this.roster.setSlots(slots));
    this.#emit('people');
  }

  /** @param {{participant_id: string, variant: import('./protocol.js').Variant, language: string | null}} speech
   * @param {boolean} active */
  #speech({ participant_id, variant, language }, active) {
    if (variant === 'translation' && active && language !== this.options.language) return;
    this.roster.setSpeech(participant_id, variant, active);
    if (variant === 'translation' && !active) {
      this.#spoken.forget(participant_id);
      this.#showSpoken(participant_id, null);
    }
    this.#hearing.apply();
    this.#emit('people');
  }

  /** @param {import('./protocol.js').Transcript} transcript @param {boolean} final */
  #transcript(transcript, final) {
    const caption = this.#captions.add(transcript, final, new Date());
    if (transcript.translated) this.#spoken.expect(transcript);
    this.#emit('caption', { caption, final: final ? transcript : null });
  }

  #tick() {
    for (const { participantId, segmentId } of this.#spoken.poll((mid) => this.#hearing.rtpTime(mid))) {
      this.#showSpoken(participantId, segmentId);
    }
    this.#emit('tick');
  }

  /** @param {string} participantId @param {string | null} segmentId */
  #showSpoken(participantId, segmentId) {
    for (const caption of this.#captions.markSpoken(participantId, segmentId)) {
      this.#emit('caption', { caption, final: null });
    }
  }

  #sayMuted() {
    this.#link.send(this.muted ? 'track.mute' : 'track.unmute');
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
