/** @typedef {import('./protocol.js').Transcript} Transcript */

const MAX_WAITING = 64;

/** True if RTP time `now` has reached `start`; RTP time wraps at 2³² (RFC 3550 §5.1), so half the circle is "past".
 * @param {number} now @param {number} start */
export function reached(now, start) {
  return (now - start) >>> 0 < 2 ** 31;
}

/**
 * Captions in step with the voice: translated segments wait here until the slot they are spoken in has played up to
 * their RTP time. Browsers that do not tell the RTP time never answer, and nothing is marked.
 */
export class SpokenTracker {
  /** @type {{segmentId: string, participantId: string, mid: string, start: number}[]} */
  #waiting = [];

  /** @param {Transcript} transcript */
  expect({ segment_id, participant_id, mid, rtp_timestamp }) {
    if (mid == null || rtp_timestamp == null) return;
    this.#waiting.push({ segmentId: segment_id, participantId: participant_id, mid, start: rtp_timestamp });
    if (this.#waiting.length > MAX_WAITING) this.#waiting.shift();
  }

  /** @param {(mid: string) => number | undefined} rtpTime of what a slot plays now
   * @returns {{participantId: string, segmentId: string}[]} segments that began since the last call */
  poll(rtpTime) {
    const begun = this.#waiting.filter(({ mid, start }) => {
      const now = rtpTime(mid);
      return now !== undefined && reached(now, start);
    });
    if (begun.length) this.#waiting = this.#waiting.filter((item) => !begun.includes(item));
    return begun;
  }

  /** The person's translation ended: what still waits was never spoken. @param {string} participantId */
  forget(participantId) {
    this.#waiting = this.#waiting.filter((item) => item.participantId !== participantId);
  }

  clear() {
    this.#waiting = [];
  }
}
