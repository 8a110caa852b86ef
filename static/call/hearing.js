import { slotGain } from './gains.js';
import { Mixer } from './mixer.js';

/** @typedef {import('./roster.js').Roster} Roster */

/** What I hear: applies to the mixer what the roster and my wishes say. */
export class Hearing {
  #roster;
  #balance;
  #mixer;
  /** Per-person loudness, 1 = as it is. @type {Map<string, number>} */
  #volumes = new Map();

  /** @param {Roster} roster @param {number} balance @param {boolean} webAudio */
  constructor(roster, balance, webAudio) {
    this.#roster = roster;
    this.#balance = balance;
    this.#mixer = new Mixer(webAudio);
  }

  /** @param {{mid: string, receiver: RTCRtpReceiver}[]} slots of a new connection */
  attach(slots) {
    this.#mixer.attach(slots);
    this.apply(new Set(this.#roster.slots.keys()));
  }

  /** @param {number} balance 0 = original only, 1 = translation only */
  setBalance(balance) {
    this.#balance = balance;
    this.apply();
  }

  /** @param {string} participantId @param {number} volume 0 to 2 */
  setVolume(participantId, volume) {
    this.#volumes.set(participantId, volume);
    this.apply();
  }

  /** @param {string} participantId @returns {number} 0 to 2 */
  volume(participantId) {
    return this.#volumes.get(participantId) ?? 1;
  }

  /** Call it when the roster has changed. @param {ReadonlySet<string>} [abruptly] mids that carry another voice now */
  apply(abruptly = new Set()) {
    const { slots, interpreting } = this.#roster;
    const interpreted = this.#roster.interpreted();
    const room = { balance: this.#balance, volumes: this.#volumes, interpreting, interpreted };
    for (const [mid, slot] of slots) this.#mixer.setGain(mid, slotGain(slot, room), abruptly.has(mid));
  }

  /** How loud somebody is now, in their own voice and in translation, 0 to 1. @param {string} participantId */
  levels(participantId) {
    const levels = { original: 0, translation: 0 };
    for (const [mid, slot] of this.#roster.slots) {
      if (slot.participant_id !== participantId) continue;
      levels[slot.variant] = Math.max(levels[slot.variant], this.#mixer.level(mid));
    }
    return levels;
  }

  /** @param {string} mid @returns {number} 0 to 1 */
  level(mid) {
    return this.#mixer.level(mid);
  }

  /** @param {string} mid @returns {number | undefined} RTP time of what is heard now in this slot */
  rtpTime(mid) {
    return this.#mixer.rtpTime(mid);
  }

  close() {
    this.#mixer.close();
  }
}
