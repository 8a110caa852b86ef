/** @typedef {import('./call/protocol.js').Room} Room */

/** A refusal by the server, as `application/problem+json` tells it; status 0: no answer at all. */
export class ApiError extends Error {
  /** @param {number} status @param {string} message @param {number | null} retryAfterS */
  constructor(status, message, retryAfterS = null) {
    super(message);
    this.status = status;
    this.retryAfterS = retryAfterS;
  }
}

/** @param {string} path @param {RequestInit} [init] @returns {Promise<Response>} @throws {ApiError} */
async function request(path, init) {
  let response;
  try {
    response = await fetch(path, init);
  } catch {
    throw new ApiError(0, 'The server does not answer.');
  }
  if (response.ok) return response;
  const problem = await response.json().catch(() => ({}));
  const message = problem.detail || problem.title || `The server answered ${response.status}.`;
  throw new ApiError(
    response.status,
    message,
    problem.retry_after_s ?? (Number(response.headers.get('Retry-After')) || null),
  );
}

/** @param {string} path @returns {Promise<any>} */
async function getJson(path) {
  return (await request(path, { headers: { Accept: 'application/json' } })).json();
}

/** @returns {Promise<import('./call/protocol.js').Engine>} */
export const getEngine = () => getJson('/v1/engine');

/** @returns {Promise<import('./call/protocol.js').Dialogue>} the voice that one can talk with; 404 if there is none */
export const getConversation = () => getJson('/v1/conversation');

/** @returns {Promise<import('./call/protocol.js').Language[]>} */
export const getLanguages = () => getJson('/v1/languages');

/** @returns {Promise<Room[]>} */
export const getRooms = () => getJson('/v1/rooms');

/** @param {string} id @returns {Promise<Room>} */
export const getRoom = (id) => getJson(`/v1/rooms/${encodeURIComponent(id)}`);

/** @returns {Promise<RTCIceServer[]>} empty if the server cannot tell: a direct connection may still work */
export const getIceServers = () => getJson('/v1/ice-servers').catch(() => []);

/** @param {string} name may be empty: the server thinks of one @returns {Promise<Room>} */
export async function createRoom(name) {
  const response = await request('/v1/rooms', {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify(name ? { name } : {}),
  });
  return response.json();
}

/** @param {string} id @param {string} language @returns {Promise<Blob>} an utterance, spoken in a language */
export async function getSpeech(id, language) {
  const query = new URLSearchParams({ language });
  return (await request(`/v1/utterances/${encodeURIComponent(id)}/audio?${query}`)).blob();
}

/** @param {string} roomId @param {string} language @param {'txt' | 'vtt' | 'json'} format */
export function transcriptUrl(roomId, language, format) {
  return `/v1/rooms/${encodeURIComponent(roomId)}/transcript?${new URLSearchParams({ language, format })}`;
}

/** @param {string} id */
export const roomPath = (id) => `/room/${encodeURIComponent(id)}`;
