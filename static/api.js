/** @typedef {import('./call/protocol.js').Room} Room */

/** A connection that died unnoticed never answers: browsers would wait for it for many minutes. */
const PATIENCE_MS = 8_000;

/** A refusal by the server, as `application/problem+json` tells it; status 0: no answer at all. */
export class ApiError extends Error {
  /** @param {number} status @param {string} message @param {number | null} retryAfterS
   * @param {Record<string, unknown>} more what else the refusal says */
  constructor(status, message, retryAfterS = null, more = {}) {
    super(message);
    this.status = status;
    this.retryAfterS = retryAfterS;
    this.more = more;
  }
}

/** @param {string} path @param {RequestInit} [init] @returns {Promise<Response>} @throws {ApiError} */
async function request(path, init) {
  let response;
  try {
    response = await fetch(path, { signal: AbortSignal.timeout(PATIENCE_MS), ...init });
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
    problem,
  );
}

/** Origin of the lobby; empty while it is this server, as far as we know. */
let home = '';

/** A room tells at which address it is found by others. @template {{url?: string}} T @param {T} told @returns {T} */
function learnHome(told) {
  const { origin } = new URL(told.url ?? '', location.href);
  home = origin === location.origin ? '' : origin;
  return told;
}

/** @param {string} path of a page @returns {string} where everybody finds it */
export const pageUrl = (path) => home + path;

/** Whether the lobby is another server than that of this page: then the way to another place begins there. */
export const isElsewhere = () => home !== '';

/** The address of this page for others. */
export const shareUrl = () => new URL(pageUrl(location.pathname), location.href).href;

/** @param {string} path of a page @param {string} ticket of an earlier answer, for a place in a line
 * @returns {Promise<string>} the page's address at the server that has a place for it @throws {ApiError} */
export async function askForPlace(path, ticket = '') {
  const place = `${home}/v1${path === '/talk' ? '/conversation' : path.replace('/room/', '/rooms/')}/placement`;
  const response = await request(place, { method: 'POST', body: ticket && JSON.stringify({ ticket }) });
  const { url, token } = await response.json();
  return `${url}${path}?${new URLSearchParams({ modal_session_token: token })}`;
}

/** @param {string} page */
const visit = (page) => fetch(page, { signal: AbortSignal.timeout(PATIENCE_MS) });

/** Whether the room, or the voice, is still there; where it has moved from the server that this page came from, so do
 * our requests from now on. @param {() => Promise<unknown>} ask @returns {Promise<boolean>} */
export async function isThere(ask) {
  try {
    await (home ? askForPlace(location.pathname).then(visit) : ask());
    return true;
  } catch (error) {
    return !(error instanceof ApiError) || error.status !== 404;
  }
}

/** @param {string} path @returns {Promise<any>} */
async function getJson(path) {
  return (await request(path, { headers: { Accept: 'application/json' } })).json();
}

/** @returns {Promise<import('./call/protocol.js').Engine>} */
export const getEngine = () => getJson('/v1/engine');

/** @returns {Promise<import('./call/protocol.js').Dialogue>} the voice that one can talk with; 404 if there is none */
export const getConversation = () => getJson('/v1/conversation').then(learnHome);

/** @returns {Promise<import('./call/protocol.js').Language[]>} */
export const getLanguages = () => getJson('/v1/languages');

/** @returns {Promise<Room[]>} */
export const getRooms = () => getJson('/v1/rooms');

/** @param {string} id @returns {Promise<Room>} */
export const getRoom = (id) => getJson(`/v1/rooms/${encodeURIComponent(id)}`).then(learnHome);

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
  const path = `/v1/utterances/${encodeURIComponent(id)}/audio?${query}`;
  return (await request(path, { signal: null })).blob(); // it may have to be spoken first
}

/** @param {string} roomId @param {string} language @param {'txt' | 'vtt' | 'json'} format */
export function transcriptUrl(roomId, language, format) {
  return `/v1/rooms/${encodeURIComponent(roomId)}/transcript?${new URLSearchParams({ language, format })}`;
}

/** @param {string} id */
export const roomPath = (id) => `/room/${encodeURIComponent(id)}`;
