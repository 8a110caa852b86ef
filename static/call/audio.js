/** The page's one AudioContext. It starts suspended until somebody clicks, and phones interrupt it as they please. */

const START_TIMEOUT_MS = 1_000;

/** @type {AudioContext | null} */
let context = null;

/** @returns {AudioContext} */
export function audioContext() {
  if (!context) {
    context = new AudioContext({ latencyHint: 'interactive' });
    const wake = () => {
      if (context?.state !== 'running') void context?.resume().catch(() => {});
    };
    for (const event of ['pointerdown', 'keydown', 'visibilitychange']) document.addEventListener(event, wake);
  }
  return context;
}

/** Call it inside a click. @returns {Promise<boolean>} false: there is no sound device, play through <audio> instead */
export async function startAudio() {
  const audio = audioContext();
  const running = audio.resume().then(
    () => true,
    () => false,
  );
  const late = new Promise((resolve) => {
    setTimeout(() => resolve(false), START_TIMEOUT_MS);
  });
  await Promise.race([running, late]);
  return audio.state === 'running';
}

/** Three quiet rising tones. @returns {Promise<void>} resolves when they have been heard */
export async function playTestSound() {
  if (!(await startAudio())) throw new Error('This browser found no way to play sound.');
  const audio = audioContext();
  const start = audio.currentTime + 0.05;
  [392, 494, 587].forEach((hertz, i) => {
    const tone = new OscillatorNode(audio, { type: 'triangle', frequency: hertz });
    const envelope = new GainNode(audio, { gain: 0 });
    const at = start + i * 0.26;
    envelope.gain.setTargetAtTime(0.25, at, 0.02);
    envelope.gain.setTargetAtTime(0, at + 0.16, 0.06);
    tone.connect(envelope).connect(audio.destination);
    tone.start(at);
    tone.stop(at + 0.6);
  });
  await new Promise((resolve) => {
    setTimeout(resolve, 1_200);
  });
}

/** Reads how loud an analyser's signal is. */
export class LevelReader {
  #samples;
  #analyser;

  /** @param {AnalyserNode} analyser */
  constructor(analyser) {
    this.#analyser = analyser;
    this.#samples = new Float32Array(analyser.fftSize);
  }

  /** @returns {number} 0 (silence, −60 dB) to 1 (full scale), linear in dB as ears hear it */
  read() {
    this.#analyser.getFloatTimeDomainData(this.#samples);
    let sum = 0;
    for (const sample of this.#samples) sum += sample * sample;
    return levelOf(Math.sqrt(sum / this.#samples.length));
  }
}

/** @param {number} amplitude 0 to 1 @returns {number} 0 to 1 */
export function levelOf(amplitude) {
  return Math.max(0, Math.min(1, 1 + Math.log10(amplitude + 1e-9) / 3));
}
