/** @typedef {import('./protocol.js').Transcript} Transcript */

/** @typedef {{text: string, language: string, final: boolean, committed: number}} Words  `committed`: characters from the
 * start that stay as they are */

/**
 * @typedef {{id: string, original: Words | null, translated: Words | null, spoken: boolean}} Segment
 *
 * @typedef {{key: string, utteranceId: string, participantId: string, at: Date, segments: Map<string, Segment>}} Caption
 *   one turn of one person: its segments in the order they came
 */

const KEEP = 300;

/** The captions of a call: transcripts go in, grouped turns come out. Old turns are forgotten; the server has them all. */
export class CaptionBook {
  /** @type {Map<string, Caption>} */
  #captions = new Map();

  /** @param {Transcript} transcript @param {boolean} final @param {Date} now @returns {Caption} the turn it belongs to */
  add(transcript, final, now) {
    const caption = this.#caption(transcript, now);
    const segment = this.#segment(caption, transcript.segment_id);
    const side = transcript.translated ? 'translated' : 'original';
    if (final || !segment[side]?.final) {
      const { text, language, committed = 0 } = transcript;
      segment[side] = { text, language, final, committed: final ? 0 : committed };
    }
    return caption;
  }

  /** Marks which of a person's segments the interpreter speaks now. @param {string} participantId
   * @param {string | null} segmentId @returns {Caption[]} the turns that changed */
  markSpoken(participantId, segmentId) {
    const changed = new Set();
    for (const caption of this.#captions.values()) {
      if (caption.participantId !== participantId) continue;
      for (const segment of caption.segments.values()) {
        const spoken = segment.id === segmentId;
        if (segment.spoken !== spoken) changed.add(caption);
        segment.spoken = spoken;
      }
    }
    return [...changed];
  }

  /** @param {Transcript} transcript @param {Date} now @returns {Caption} */
  #caption({ utterance_id, participant_id }, now) {
    const key = `${participant_id} ${utterance_id}`;
    let caption = this.#captions.get(key);
    if (!caption) {
      caption = { key, utteranceId: utterance_id, participantId: participant_id, at: now, segments: new Map() };
      this.#captions.set(key, caption);
      if (this.#captions.size > KEEP) this.#captions.delete(this.#captions.keys().next().value ?? '');
    }
    return caption;
  }

  /** @param {Caption} caption @param {string} id @returns {Segment} */
  #segment(caption, id) {
    let segment = caption.segments.get(id);
    if (!segment) {
      segment = { id, original: null, translated: null, spoken: false };
      caption.segments.set(id, segment);
    }
    return segment;
  }
}
