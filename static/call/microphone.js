import { LevelReader, audioContext } from './audio.js';

/** Why there is no microphone, as a sentence and what to do. */
export class MicrophoneError extends Error {}

/** @param {unknown} error @returns {string} */
function explain(error) {
  const name = error instanceof DOMException ? error.name : '';
  if (name === 'NotAllowedError' || name === 'SecurityError') {
    return 'The microphone is blocked for this page. Allow it in the address bar, then try again. You can also only listen.';
  }
  if (name === 'NotFoundError' || name === 'OverconstrainedError') {
    return 'No microphone was found. Plug one in and try again. You can also only listen.';
  }
  if (name === 'NotReadableError' || name === 'AbortError') {
    return 'Another program seems to hold the microphone. Close it and try again. You can also only listen.';
  }
  return 'The microphone could not be opened. You can also only listen.';
}

/** The microphone: at most one open track, muted or not, with a level. */
export class Microphone {
  /** @type {MediaStream | null} */
  #stream = null;
  /** @type {MediaStreamAudioSourceNode | null} */
  #source = null;
  /** @type {LevelReader | null} */
  #reader = null;
  #enabled = true;
  /** How often it was opened or closed: who is asked for a permission may answer when something else is wanted. */
  #wishes = 0;

  /** Called when a device was opened. */
  onopened = () => {};
  /** Called when the device goes away by itself. */
  onlost = () => {};

  get track() {
    return this.#stream?.getAudioTracks()[0] ?? null;
  }

  get deviceId() {
    return this.track?.getSettings().deviceId ?? '';
  }

  get enabled() {
    return this.#enabled;
  }

  set enabled(value) {
    this.#enabled = value;
    if (this.track) this.track.enabled = value;
  }

  /** @param {string} [deviceId] @returns {Promise<boolean>} false: it was opened otherwise, or closed, in the meantime
   * @throws {MicrophoneError} */
  async open(deviceId) {
    if (!navigator.mediaDevices) {
      throw new MicrophoneError(
        'Browsers give the microphone only to secure pages: use https or localhost. You can also only listen.',
      );
    }
    const audio = {
      echoCancellation: true,
      noiseSuppression: true,
      autoGainControl: true,
      channelCount: 1,
      ...(deviceId && { deviceId: { ideal: deviceId } }),
    };
    this.#wishes += 1;
    const wish = this.#wishes;
    let stream;
    try {
      stream = await navigator.mediaDevices.getUserMedia({ audio });
    } catch (error) {
      if (wish !== this.#wishes) return false;
      throw new MicrophoneError(explain(error));
    }
    if (wish !== this.#wishes) {
      for (const track of stream.getTracks()) track.stop();
      return false;
    }
    this.close();
    this.#stream = stream;
    this.enabled = this.#enabled;
    stream.getAudioTracks()[0]?.addEventListener('ended', () => {
      this.close();
      this.onlost();
    });
    const context = audioContext();
    const analyser = new AnalyserNode(context, { fftSize: 1024 });
    this.#source = context.createMediaStreamSource(stream);
    this.#source.connect(analyser);
    this.#reader = new LevelReader(analyser);
    this.onopened();
    return true;
  }

  /** @returns {number} 0 to 1 */
  level() {
    return this.#enabled && this.#reader ? this.#reader.read() : 0;
  }

  close() {
    this.#wishes += 1;
    this.#source?.disconnect();
    for (const track of this.#stream?.getTracks() ?? []) track.stop();
    this.#stream = this.#source = this.#reader = null;
  }

  /** @returns {Promise<MediaDeviceInfo[]>} */
  static async list() {
    const devices = (await navigator.mediaDevices?.enumerateDevices()) ?? [];
    return devices.filter(({ kind }) => kind === 'audioinput');
  }
}
