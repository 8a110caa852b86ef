/**
 * The wire protocol, version 1, as the browser sees it. It mirrors `signaling/protocol.py`: the two lists of types
 * below must name the same messages.
 */

export const CLIENT_TYPES = /** @type {const} */ ([
  'session.join',
  'session.update',
  'session.leave',
  'room.update',
  'ice.candidate',
  'track.mute',
  'track.unmute',
  'chat.send',
  'ping',
]);

export const SERVER_TYPES = /** @type {const} */ ([
  'session.joined',
  'session.updated',
  'session.state',
  'queue.position',
  'room.updated',
  'participant.joined',
  'participant.updated',
  'participant.left',
  'slots.updated',
  'speech.started',
  'speech.stopped',
  'transcript.interim',
  'transcript.final',
  'translation.lag',
  'chat.message',
  'error',
  'pong',
]);

/**
 * @typedef {{id: string, name: string, language: string, speaks: string, muted: boolean, kind?: 'voice'}} Participant
 *   `kind`: no person, but the voice that somebody invited
 *
 * @typedef {'original' | 'translation'} Variant
 * @typedef {{mid: string, participant_id: string, variant: Variant, language: string | null}} Slot
 *
 * @typedef {'translated' | 'original' | 'both'} Mix
 * @typedef {'simultaneous' | 'consecutive'} Mode  whether the interpreter speaks while the speaker does, or after
 * @typedef {'warming' | 'ready' | 'draining'} EngineState
 * @typedef {{name: string, notice: string, state: EngineState, eta_s?: number | null, progress?: number | null,
 *   doing?: string | null, error?: string | null}} Engine  `progress`: 0 to 1; `error`: why it does not work
 *
 * @typedef {{code: string, name: string, english: string, speech_in: boolean, speech_out: boolean, text: boolean,
 *   from: Record<string, string[]>}} Language  `from`: a source language → the languages in between
 *
 * @typedef {{id: string, name: string, mode: Mode}} Card
 * @typedef {Card & {url?: string, participant_count: number, capacity?: number,
 *   participants?: Participant[] | number}} Room
 *
 * @typedef {{segment_id: string, utterance_id: string, participant_id: string, language: string,
 *   source_language: string, translated: boolean, text: string, start_ms: number, end_ms: number,
 *   mid?: string | null, rtp_timestamp?: number | null, committed?: number}} Transcript  `committed`: leading
 *   characters of an interim that stay
 *
 * @typedef {{message_id: string, participant_id: string, name: string, language: string, source_language: string,
 *   text: string, original_text: string, utterance_id: string | null}} ChatMessage
 *
 * @typedef {{segment_id: string, participant_id: string, language: string, lag_ms: number}} Lag
 *
 * @typedef {{code: string, message: string, fatal: boolean, retry_after_s?: number | null}} Problem
 *
 * @typedef {{name: string, notice: string}} Voice  that may be invited into a room
 *
 * @typedef {{position: number, eta_s: number}} Place  in the line for a conversation
 * @typedef {Engine & {url?: string, voice: string, seats: number, seats_taken: number, waiting: number}} Dialogue
 *
 * @typedef {{session_id: string, resume: string, participant: Participant, room: Card,
 *   participants: Participant[], mix?: Mix, slots: Slot[], sdp: string | null, state: EngineState, engine: {name: string, notice: string},
 *   voice?: Voice}} Joined
 *
 * @typedef {{type: string, seq: number} & Record<string, any>} ServerMessage
 */
