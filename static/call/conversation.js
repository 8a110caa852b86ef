import { getConversation } from '../api.js';
import { Session } from './session.js';

/** @typedef {import('./microphone.js').Microphone} Microphone */
/** @typedef {import('./protocol.js').Place} Place */

/** The voice's participant_id. */
export const ASSISTANT = 'assistant';

/**
 * One conversation with a voice, perhaps with a wait in line before it. It tells besides what every session tells:
 *
 * - `place` Place | null (in the line) · `speech` nothing · `caption` Caption
 */
export class Conversation extends Session {
  /** In the line. @type {Place | null} */
  place = null;

  /** @param {Microphone} microphone @param {boolean} webAudio */
  constructor(microphone, webAudio) {
    super(
      { path: '/v1/conversation/signal', introduce: () => ({}), look: getConversation, balance: 0.5 },
      microphone,
      webAudio,
    );
  }

  get speaking() {
    return this.roster.speaking.has(ASSISTANT);
  }

  /** How loud the voice is now, 0 to 1. */
  get level() {
    return this.hearing.levels(ASSISTANT).original;
  }

  /** @protected @override @param {import('./protocol.js').ServerMessage} message */
  receive(message) {
    const data = /** @type {any} */ (message);
    switch (message.type) {
      case 'queue.position':
        return this.#setPlace({ position: data.position, eta_s: data.eta_s });
      case 'speech.started':
      case 'speech.stopped':
        this.roster.setSpeech(data.participant_id, 'original', message.type === 'speech.started');
        return this.emit('speech');
      case 'transcript.interim':
      case 'transcript.final':
        return this.emit('caption', this.captions.add(data, message.type === 'transcript.final', new Date()));
      default:
        return super.receive(message);
    }
  }

  /** @protected @override @param {import('./protocol.js').Joined} joined */
  joined(joined) {
    super.joined(joined);
    this.#setPlace(null);
  }

  /** @param {Place | null} place */
  #setPlace(place) {
    this.place = place;
    this.emit('place', place);
  }
}
