import { Backoff } from './backoff.js';
import { Peer } from './peer.js';
import { SignalSocket } from './socket.js';

/** @typedef {import('./protocol.js').Joined} Joined */
/** @typedef {import('./protocol.js').Problem} Problem */
/** @typedef {import('./protocol.js').ServerMessage} ServerMessage */
/** @typedef {'connecting' | 'connected' | 'reconnecting' | 'lost' | 'left'} LinkState */

/**
 * @typedef {object} Owner  what a link needs from, and tells, the call it serves
 * @property {string} url of the WebSocket
 * @property {() => Record<string, unknown>} introduce the fields of `session.join` that say who I am
 * @property {() => MediaStreamTrack | null} track the microphone
 * @property {() => Promise<RTCIceServer[]>} iceServers
 * @property {() => Promise<boolean>} isGone whether the room is no more: a WebSocket does not tell why it was refused
 * @property {(message: ServerMessage) => void} receive every message, in order
 * @property {(peer: Peer) => void} adopt a new connection that the server has answered
 * @property {(state: LinkState, problem: Problem | null) => void} stateChanged a problem only with `lost`
 */

const GIVE_UP_AFTER_MS = 60_000;
const FIRST_ATTEMPTS = 5;
const FIRST_MEDIA_ATTEMPTS = 2;
/** Refusals that say: come again. */
const PASSING = ['join_timeout', 'media_failed', 'session_moved', 'room_moving'];

/** The server said no. */
class Refusal extends Error {
  /** @param {Problem} problem */
  constructor(problem) {
    super(problem.message);
    this.problem = problem;
  }
}

/**
 * Keeps one session alive over connections that come and go. A lost WebSocket is opened again and the session resumed;
 * media that still flow are left alone, media that failed are offered anew on a new WebSocket. `run` reads as the life
 * of the session.
 */
export class Link {
  #owner;
  #backoff = new Backoff();
  /** @type {SignalSocket | null} */
  #socket = null;
  /** @type {Peer | null} */
  #peer = null;
  /** @type {string | null} */
  #resume = null;
  #lastSeq = 0;
  /** The greatest number of words seen: which of them are new, where the room has moved. @type {number | null} */
  #lastRecord = null;
  #wasConnected = false;
  #mediaFailures = 0;
  #troubleSince = performance.now();
  /** @type {LinkState} */
  #state = 'connecting';

  /** @param {Owner} owner */
  constructor(owner) {
    this.#owner = owner;
  }

  get peer() {
    return this.#peer;
  }

  get socket() {
    return this.#socket;
  }

  get #over() {
    return this.#state === 'left' || this.#state === 'lost';
  }

  async run() {
    while (!this.#over) {
      let pause = this.#backoff.next();
      try {
        await this.#connect();
      } catch (error) {
        if (!(error instanceof Refusal)) await this.#wonder(error);
        else if (this.#isFinal(error.problem)) this.#lose(error.problem);
        else pause = this.#afterRefusal(error.problem, pause);
      }
      if (this.#over) return;
      if (this.#wasConnected) this.#setState('reconnecting');
      const hopeless = this.#hopeless();
      if (hopeless) this.#lose(hopeless);
      else
        await new Promise((resolve) => {
          setTimeout(resolve, pause * 1000);
        });
    }
  }

  /** @param {string} type @param {Record<string, unknown>} [fields] @returns {boolean} false: there is no connection */
  send(type, fields) {
    return this.#socket?.send(type, fields) ?? false;
  }

  leave() {
    this.send('session.leave');
    this.#setState('left');
    this.#close();
  }

  /** One WebSocket from its opening to its end. Returns when it is gone; throws Refusal when the server says no. */
  async #connect() {
    const offer = this.#peer?.isUsable ? null : await this.#offer();
    const socket = await SignalSocket.open(this.#owner.url);
    if (this.#over) {
      this.#dropPeer();
      return socket.close();
    }
    this.#socket = socket;
    try {
      socket.send('session.join', {
        ...this.#owner.introduce(),
        ...(offer && { sdp: offer }),
        ...(this.#resume && { resume: this.#resume, last_seq: this.#lastSeq, last_record: this.#lastRecord }),
      });
      let joined = false;
      for await (const message of socket) {
        if (message.type === 'session.joined') joined = true;
        if (joined) this.#lastSeq = message.seq; // before that it is the WebSocket's, not the session's
        if (typeof message.record === 'number') this.#lastRecord = message.record;
        if (message.type === 'session.joined') {
          await this.#joined(/** @type {any} */ (message), socket);
        }
        if (message.type === 'error' && (message.fatal || !joined || message.code === 'media_failed')) {
          throw new Refusal(/** @type {any} */ (message));
        }
        this.#owner.receive(message);
      }
    } finally {
      socket.close();
    }
    return undefined;
  }

  /** @returns {Promise<string>} the offer of a new connection */
  async #offer() {
    this.#peer?.close();
    const peer = new Peer(await this.#owner.iceServers(), this.#owner.track());
    this.#peer = peer;
    void peer.failed.then(() => {
      if (this.#peer !== peer) return;
      this.#mediaFailures += 1;
      this.#dropPeer();
      this.#socket?.close();
    });
    return peer.offer();
  }

  /** @param {Joined} joined @param {SignalSocket} socket */
  async #joined(joined, socket) {
    this.#resume = joined.resume;
    const peer = this.#peer;
    if (!peer) return;
    if (joined.sdp) {
      await peer.accept(joined.sdp, ({ candidate, sdpMid, sdpMLineIndex }) =>
        this.send('ice.candidate', {
          candidate,
          sdp_mid: sdpMid,
          sdp_mline_index: sdpMLineIndex,
        }),
      );
      this.#owner.adopt(peer);
    }
    void peer.connected.then(() => {
      if (this.#socket !== socket || this.#state === 'left') return;
      this.#wasConnected = true;
      this.#mediaFailures = 0;
      this.#backoff.reset();
      this.#setState('connected');
    });
  }

  /** No answer, or a bug: is there still something to come back to? @param {unknown} error */
  async #wonder(error) {
    console.debug('dragoman: connection attempt failed', error);
    if (await this.#owner.isGone()) this.#lose({ code: 'room_not_found', message: '', fatal: true });
  }

  /** @param {Problem} problem @returns {boolean} whether trying again cannot help */
  #isFinal({ code }) {
    if (code === 'unknown_session') return this.#resume === null;
    if (code === 'draining') return !this.#wasConnected;
    return !PASSING.includes(code);
  }

  /** @param {Problem} problem @param {number} pause @returns {number} seconds to wait */
  #afterRefusal({ code, retry_after_s }, pause) {
    if (code === 'unknown_session') {
      this.#resume = null;
      this.#lastSeq = 0;
      this.#lastRecord = null;
    }
    if (code === 'unknown_session' || code === 'session_moved') {
      this.#dropPeer(); // the session, or the process, at its other end is no more
      return 0;
    }
    if (code === 'media_failed') {
      this.#mediaFailures += 1;
      this.#dropPeer();
    }
    return retry_after_s ?? pause;
  }

  /** @returns {Problem | null} why there is no point in going on */
  #hopeless() {
    const media = this.#mediaFailures > 0;
    const tried = this.#wasConnected
      ? performance.now() - this.#troubleSince > GIVE_UP_AFTER_MS
      : media
        ? this.#mediaFailures >= FIRST_MEDIA_ATTEMPTS
        : this.#backoff.attempts >= FIRST_ATTEMPTS;
    return tried ? { code: media ? 'media_blocked' : 'server_gone', message: '', fatal: true } : null;
  }

  /** @param {Problem} problem */
  #lose(problem) {
    if (this.#over) return; // one left while we looked
    this.#close();
    this.#setState('lost', problem);
  }

  #dropPeer() {
    this.#peer?.close();
    this.#peer = null;
  }

  #close() {
    this.#dropPeer();
    this.#socket?.close();
  }

  /** @param {LinkState} state @param {Problem | null} [problem] */
  #setState(state, problem = null) {
    if (state === this.#state) return;
    if (this.#state === 'connected') this.#troubleSince = performance.now();
    this.#state = state;
    this.#owner.stateChanged(state, problem);
  }
}
