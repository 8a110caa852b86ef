import { LevelReader, audioContext, levelOf } from './audio.js';
import { ATTACK_S, RELEASE_S } from './gains.js';

/**
 * @typedef {{receiver: RTCRtpReceiver, element: HTMLAudioElement, source: MediaStreamAudioSourceNode | null,
 *   gain: GainNode | null, reader: LevelReader | null}} Channel
 */

const STALE_MS = 400;

/**
 * Plays the slots, each with its own loudness. With an AudioContext: receiver → source → gain → loudspeaker, beside a
 * muted <audio>, without which Chromium does not pull the track (crbug.com/933677). Without one: plain <audio> elements.
 */
export class Mixer {
  /** @type {Map<string, Channel>} by mid */
  #channels = new Map();
  #webAudio;

  /** @param {boolean} webAudio whether the AudioContext runs */
  constructor(webAudio) {
    this.#webAudio = webAudio;
  }

  /** @param {{mid: string, receiver: RTCRtpReceiver}[]} slots of a new connection; those before are dropped */
  attach(slots) {
    this.close();
    for (const { mid, receiver } of slots) this.#channels.set(mid, this.#open(receiver));
  }

  /** @param {string} mid @param {number} gain @param {boolean} [abruptly] the slot got another voice: do not fade */
  setGain(mid, gain, abruptly = false) {
    const channel = this.#channels.get(mid);
    if (!channel) return;
    if (!channel.gain) {
      channel.element.volume = Math.min(1, gain);
      return;
    }
    const param = channel.gain.gain;
    // Three time constants are 95 % of the way: that is what "attack" means here.
    const constant = abruptly ? 0.005 : (gain < param.value ? ATTACK_S : RELEASE_S) / 3;
    param.cancelScheduledValues(0);
    param.setTargetAtTime(gain, audioContext().currentTime, constant);
  }

  /** @param {string} mid @returns {number} 0 to 1: how loud this slot is, before its volume */
  level(mid) {
    const channel = this.#channels.get(mid);
    if (!channel) return 0;
    if (channel.reader) return channel.reader.read();
    const source = channel.receiver.getSynchronizationSources()[0];
    const fresh = source && performance.timeOrigin + performance.now() - source.timestamp < STALE_MS;
    return fresh ? levelOf(source.audioLevel ?? 0) : 0;
  }

  /** @param {string} mid @returns {number | undefined} RTP time of what is heard now in this slot */
  rtpTime(mid) {
    return this.#channels.get(mid)?.receiver.getSynchronizationSources()[0]?.rtpTimestamp;
  }

  close() {
    for (const { element, source, gain } of this.#channels.values()) {
      source?.disconnect();
      gain?.disconnect();
      element.srcObject = null;
      element.remove();
    }
    this.#channels.clear();
  }

  /** @param {RTCRtpReceiver} receiver @returns {Channel} */
  #open(receiver) {
    const stream = new MediaStream([receiver.track]);
    const element = document.createElement('audio');
    element.autoplay = true;
    element.muted = this.#webAudio;
    element.srcObject = stream;
    document.body.append(element);
    void element.play().catch(() => {}); // an <audio> that was removed meanwhile rejects; nothing is lost
    if (!this.#webAudio) return { receiver, element, source: null, gain: null, reader: null };

    const context = audioContext();
    const source = context.createMediaStreamSource(stream);
    const analyser = new AnalyserNode(context, { fftSize: 1024 });
    const gain = new GainNode(context, { gain: 1 });
    source.connect(analyser);
    source.connect(gain).connect(context.destination);
    return { receiver, element, source, gain, reader: new LevelReader(analyser) };
  }
}
