import { getRoom } from '../api.js';
import { Session } from './session.js';
import { SpokenTracker } from './spoken.js';
import { callStats } from './stats.js';

/** @typedef {import('./protocol.js').Mix} Mix */
/** @typedef {import('./protocol.js').Mode} Mode */
/** @typedef {import('./protocol.js').Participant} Participant */
/** @typedef {import('./protocol.js').ServerMessage} ServerMessage */
/** @typedef {import('./microphone.js').Microphone} Microphone */

/** @typedef {{roomId: string, name: string, language: string, speaks: string, mix: Mix, balance: number}} CallOptions */

/**
 * One call, from joining to leaving: what the room page shows and what its buttons do. It tells besides what every
 * session tells:
 *
 * - `people` nothing (the roster changed) · `joined`/`left` Participant · `room` nothing (its mode changed)
 * - `caption` {caption, final: Transcript | null} · `chat` ChatMessage · `lag` Lag
 */
export class Call extends Session {
  #spoken = new SpokenTracker();

  /** How the room is interpreted. @type {Mode} */
  mode = 'simultaneous';
  /** That may be invited. @type {import('./protocol.js').Voice | null} */
  voice = null;

  /** @param {CallOptions} options @param {Microphone} microphone @param {boolean} webAudio */
  constructor(options, microphone, webAudio) {
    super(
      {
        path: `/v1/rooms/${encodeURIComponent(options.roomId)}/signal`,
        introduce: () => {
          const { name, language, speaks, mix } = this.options;
          return { name, language, speaks, mix };
        },
        look: () => getRoom(options.roomId),
        balance: options.balance,
      },
      microphone,
      webAudio,
    );
    this.options = { ...options };
  }

  /** @param {Partial<Pick<CallOptions, 'name' | 'language' | 'speaks' | 'mix'>>} change */
  update(change) {
    Object.assign(this.options, change);
    this.link.send('session.update', change);
    if (change.language) {
      this.#spoken.clear();
      this.roster.interpreting.clear();
    }
    this.hearing.apply();
  }

  /** For everybody in the room. @param {Mode} mode */
  setMode(mode) {
    this.link.send('room.update', { mode });
  }

  /** The voice, once it has come. @returns {Participant | undefined} */
  get guest() {
    return [...this.roster.people.values()].find((person) => person.kind === 'voice');
  }

  /** Asks the voice to come, or to leave. @param {boolean} come */
  invite(come) {
    this.link.send('room.update', { voice: come });
  }

  /** @param {string} text @returns {boolean} false: there is no connection, and nobody will read it */
  sendChat(text) {
    return this.link.send('chat.send', { text });
  }

  /** @param {number} balance */
  setBalance(balance) {
    this.options.balance = balance;
    this.hearing.setBalance(balance);
  }

  /** @param {string} participantId @param {number} volume 0 to 2 */
  setVolume(participantId, volume) {
    this.hearing.setVolume(participantId, volume);
  }

  /** @param {string} participantId @returns {number} 0 to 2: as it was set, even if they were gone in between */
  volume(participantId) {
    return this.hearing.volume(participantId);
  }

  /** How loud somebody is now, in their own voice and in translation. @param {string} participantId */
  levels(participantId) {
    if (participantId === this.participant?.id) return { original: this.microphone.level(), translation: 0 };
    return this.hearing.levels(participantId);
  }

  async stats() {
    return this.pc ? callStats(this.pc, this.roster.slots, (mid) => this.hearing.level(mid)) : null;
  }

  /** @protected @override @param {ServerMessage} message */
  receive(message) {
    const data = /** @type {any} */ (message);
    switch (message.type) {
      case 'session.updated':
        return this.#person(data.participant);
      case 'room.updated':
        return this.#setRoom(data.room);
      case 'participant.joined':
        this.#person(data.participant);
        return this.emit('joined', data.participant);
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
        return this.emit('lag', data);
      case 'chat.message':
        return this.emit('chat', data);
      default:
        return super.receive(message);
    }
  }

  /** @protected @override @param {import('./protocol.js').Joined} joined */
  joined(joined) {
    this.#spoken.clear();
    super.joined(joined);
    this.voice = joined.voice ?? null;
    this.#setRoom(joined.room);
    this.#insist(joined);
    this.emit('people');
  }

  /** Says again what was chosen while there was no connection. @param {import('./protocol.js').Joined} joined */
  #insist({ participant, mix = this.options.mix }) {
    const { language, speaks, mix: wanted } = this.options;
    if (language === participant.language && speaks === participant.speaks && wanted === mix) return;
    this.link.send('session.update', { language, speaks, mix: wanted });
  }

  /** @param {import('./protocol.js').Card} room */
  #setRoom({ mode }) {
    this.mode = mode;
    this.emit('room');
  }

  /** @param {Participant} person */
  #person(person) {
    this.roster.people.set(person.id, person);
    if (person.id === this.participant?.id) {
      this.participant = person;
      this.emit('me');
    }
    this.emit('people');
  }

  /** @param {string} id */
  #left(id) {
    const person = this.roster.people.get(id);
    this.roster.remove(id);
    if (person) this.emit('left', person);
    this.emit('people');
  }

  /** @param {import('./protocol.js').Slot[]} slots */
  #setSlots(slots) {
    this.hearing.apply(this.roster.setSlots(slots));
    this.emit('people');
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
    this.hearing.apply();
    this.emit('people');
  }

  /** @param {import('./protocol.js').Transcript} transcript @param {boolean} final */
  #transcript(transcript, final) {
    const caption = this.captions.add(transcript, final, new Date());
    if (transcript.translated) this.#spoken.expect(transcript);
    this.emit('caption', { caption, final: final ? transcript : null });
  }

  /** @protected @override */
  tick() {
    for (const { participantId, segmentId } of this.#spoken.poll((mid) => this.hearing.rtpTime(mid))) {
      this.#showSpoken(participantId, segmentId);
    }
    super.tick();
  }

  /** @param {string} participantId @param {string | null} segmentId */
  #showSpoken(participantId, segmentId) {
    for (const caption of this.captions.markSpoken(participantId, segmentId)) {
      this.emit('caption', { caption, final: null });
    }
  }
}
