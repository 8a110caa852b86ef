/** @typedef {import('../call/protocol.js').Problem} Problem */

/** @type {Record<string, {title: string, text: string}>} */
const PROBLEMS = {
  room_full: {
    title: 'This room is full',
    text: 'Every place is taken. Somebody may leave soon; or open another room.',
  },
  room_not_found: { title: 'This room is gone', text: 'It was closed, or the link has a slip of the pen in it.' },
  server_gone: {
    title: 'The server does not answer',
    text: 'It may be starting again, or your network may be down. Nothing you did caused this.',
  },
  media_blocked: {
    title: 'The voice cannot get through',
    text: 'The page loads, but this network seems to block calls. Try another network or ask for a TURN server.',
  },
  media_failed: {
    title: 'The voice connection failed',
    text: 'The call broke while it was being set up. A second try often works.',
  },
  bad_sdp: {
    title: 'This browser and the server do not understand each other',
    text: 'The server could not read what the browser offered. Try a current version of Chrome, Edge, Firefox or Safari.',
  },
  no_audio: {
    title: 'No audio was offered',
    text: 'The browser offered a call without sound. Reload the page and try again.',
  },
  unsupported_media: {
    title: 'No common audio format',
    text: 'This browser does not offer Opus, the only format spoken here.',
  },
  too_large: { title: 'That was too long', text: 'The server takes shorter messages only.' },
  rate_limited: { title: 'A little slower, please', text: 'Too many messages in a short time.' },
  bad_message: { title: 'The server did not understand', text: 'This page may be out of date: reload it.' },
  unknown_type: { title: 'The server did not understand', text: 'This page may be out of date: reload it.' },
  bad_language: {
    title: 'That language is not available',
    text: 'The interpreter in use does not know it. Choose another one.',
  },
  not_joined: { title: 'You are not in the room yet', text: 'Join first.' },
  already_joined: { title: 'You are already in this room', text: 'Perhaps in another tab?' },
  join_timeout: { title: 'Joining took too long', text: 'The server waited in vain. Try again.' },
  unknown_session: { title: 'The call was over', text: 'You were away for too long. Join again.' },
  engine_failed: { title: 'That did not work', text: 'What was said just now is lost; it goes on with the next.' },
  engine_busy: { title: 'The interpreter is busy', text: 'More people speak at once than it can follow.' },
  draining: { title: 'The server is being replaced', text: 'It takes no new calls now. Try again in a moment.' },
  warming: { title: 'Still warming up', text: 'It will be ready in a moment.' },
  microphone_lost: {
    title: 'The microphone is gone',
    text: 'Was it unplugged? Turn it on again, or choose another one under Sound.',
  },
  house_full: {
    title: 'No seat is free',
    text: 'All seats are taken, and the line is long.',
  },
  no_place: { title: 'A server is starting', text: 'The room opens as soon as it is there.' },
  cloud_failing: { title: 'The servers cannot be reached', text: 'Nothing you did caused this. We go on trying.' },
  no_dialogue: { title: 'There is nobody to talk with', text: 'This server runs without a voice.' },
  time_up: { title: 'The time is up', text: 'The conversation has lasted as long as is allowed here.' },
  no_webrtc: {
    title: 'This browser cannot make calls',
    text: 'It has no WebRTC. Use a current version of Chrome, Edge, Firefox or Safari.',
  },
};

/** @param {Problem} problem @returns {{title: string, text: string, retry: string}} */
export function describe({ code, message, retry_after_s }) {
  const known = PROBLEMS[code] ?? { title: 'Something went wrong', text: 'The server refused without a reason.' };
  const text = message || known.text;
  const retry = retry_after_s && !/again/i.test(text) ? `Try again in about ${Math.ceil(retry_after_s)} s.` : '';
  return { title: known.title, text, retry };
}

/** Problems that trying again cannot mend. @param {string} code */
export function isPermanent(code) {
  return ['no_webrtc', 'no_dialogue', 'room_not_found', 'unsupported_media'].includes(code);
}
