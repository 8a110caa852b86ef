/** Streams one listener can hear at a time; the server may reject the last of them. */
const SLOTS = 8;
/** A network change often heals by itself within this time. */
const DISCONNECTED_GRACE_MS = 4_000;
const CONNECT_TIMEOUT_MS = 15_000;

/**
 * Browsers send lost packets of audio again, and ask for them, only if their offer says so; no API makes it say so.
 *
 * @param {string} sdp
 */
const askingForLostPackets = (sdp) => sdp.replace(/^a=rtpmap:(\d+) opus\/48000\/2\r\n/gim, '$&a=rtcp-fb:$1 nack\r\n');

/**
 * One RTCPeerConnection: the microphone goes out on the first m-line, voices come in on the others. It is never
 * renegotiated; when it fails it is thrown away and another one is offered for the same session.
 */
export class Peer {
  #microphone;
  /** @type {RTCRtpTransceiver[]} */
  #slots = [];
  /** @type {RTCIceCandidate[]} */
  #early = [];
  /** @type {((candidate: RTCIceCandidate) => void) | null} */
  #trickle = null;
  #grace = 0;
  #fail = () => {};

  /** @param {RTCIceServer[]} iceServers @param {MediaStreamTrack | null} track null: only listen */
  constructor(iceServers, track) {
    this.pc = new RTCPeerConnection({ iceServers, bundlePolicy: 'max-bundle' });
    this.#microphone = this.pc.addTransceiver(track ?? 'audio', { direction: 'sendonly' });
    for (let i = 0; i < SLOTS; i += 1) this.#slots.push(this.pc.addTransceiver('audio', { direction: 'recvonly' }));
    this.pc.onicecandidate = ({ candidate }) => {
      if (!candidate?.candidate) return;
      if (this.#trickle) this.#trickle(candidate);
      else this.#early.push(candidate);
    };
    /** Resolves when media flows both ways can begin. @type {Promise<void>} */
    this.connected = new Promise((resolve) => this.#watch('connected', resolve));
    /** Resolves when this connection will not recover. @type {Promise<void>} */
    this.failed = new Promise((resolve) => this.#watchFailure(resolve));
  }

  get isUsable() {
    return this.pc.connectionState === 'connected';
  }

  /** @returns {Promise<string>} the offer */
  async offer() {
    const plain = await this.pc.createOffer();
    try {
      await this.pc.setLocalDescription({ type: 'offer', sdp: askingForLostPackets(plain.sdp ?? '') });
    } catch {
      await this.pc.setLocalDescription(plain); // a browser that lets nobody edit its offer
    }
    return /** @type {RTCSessionDescription} */ (this.pc.localDescription).sdp;
  }

  /** @param {string} sdp @param {(candidate: RTCIceCandidate) => void} trickle called for each candidate, early ones too */
  async accept(sdp, trickle) {
    // Not before: an offer may stand in a line for a while.
    this.#grace = window.setTimeout(this.#fail, CONNECT_TIMEOUT_MS);
    await this.pc.setRemoteDescription({ type: 'answer', sdp });
    this.sendCandidatesTo(trickle);
  }

  /** @param {(candidate: RTCIceCandidate) => void} trickle */
  sendCandidatesTo(trickle) {
    this.#trickle = trickle;
    for (const candidate of this.#early.splice(0)) trickle(candidate);
  }

  /** The slots that the server accepted. @returns {{mid: string, receiver: RTCRtpReceiver}[]} */
  slots() {
    return this.#slots.flatMap(({ mid, receiver, currentDirection }) =>
      mid !== null && currentDirection === 'recvonly' ? [{ mid, receiver }] : [],
    );
  }

  /** @param {MediaStreamTrack | null} track */
  async setMicrophone(track) {
    await this.#microphone.sender.replaceTrack(track);
  }

  close() {
    clearTimeout(this.#grace);
    this.pc.onicecandidate = null;
    this.pc.close();
  }

  /** @param {RTCPeerConnectionState} state @param {() => void} done */
  #watch(state, done) {
    this.pc.addEventListener('connectionstatechange', () => {
      if (this.pc.connectionState === state) done();
    });
  }

  /** @param {() => void} failed */
  #watchFailure(failed) {
    this.#fail = failed;
    this.pc.addEventListener('connectionstatechange', () => {
      const state = this.pc.connectionState;
      if (state === 'connecting' || state === 'new') return;
      clearTimeout(this.#grace);
      if (state === 'failed') failed();
      if (state === 'disconnected') this.#grace = window.setTimeout(failed, DISCONNECTED_GRACE_MS);
    });
  }
}
