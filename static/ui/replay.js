import { getSpeech } from '../api.js';
import { h, icon, setIcon } from './dom.js';
import { toast } from './toast.js';

/** One thing is replayed at a time. @type {(() => void) | null} */
let stopCurrent = null;

/**
 * A button that says an utterance again.
 *
 * @param {string} utteranceId @param {() => string} language in which to say it @param {string} label
 */
export function replayButton(utteranceId, language, label) {
  const symbol = icon('replay');
  const button = h(
    'button',
    {
      type: 'button',
      class: 'bare replay',
      'data-testid': 'replay',
      'aria-label': label,
      title: label,
      click: () => {
        void toggle();
      },
    },
    symbol,
  );
  let playing = false;

  async function toggle() {
    const wasPlaying = playing;
    stopCurrent?.();
    if (wasPlaying) return;
    playing = true;
    setIcon(symbol, 'stop');
    button.classList.add('is-playing');
    const audio = new Audio();
    let url = '';
    const stop = () => {
      audio.pause();
      URL.revokeObjectURL(url);
      playing = false;
      setIcon(symbol, 'replay');
      button.classList.remove('is-playing');
      if (stopCurrent === stop) stopCurrent = null;
    };
    stopCurrent = stop;
    audio.onended = stop;
    try {
      url = URL.createObjectURL(await getSpeech(utteranceId, language()));
      if (stopCurrent !== stop) return URL.revokeObjectURL(url);
      audio.src = url;
      await audio.play();
    } catch (error) {
      if (stopCurrent !== stop) return undefined; // stopped by hand: play() rejects then
      stop();
      toast(
        error instanceof DOMException
          ? 'This browser cannot play the recording.'
          : `Nothing to replay: ${/** @type {Error} */ (error).message}`,
        'error',
      );
    }
    return undefined;
  }

  return button;
}
