import { ApiError, isElsewhere, shareUrl } from '../api.js';
import { problemScreen, waitingScreen } from './message.js';

/** @typedef {import('../call/protocol.js').Problem} Problem */
/** @typedef {import('../call/session.js').Session} Session */

/** One screen at a time: what comes before a call, the call, what comes after it. */
export class Page {
  #open;
  #gone;

  /** @param {() => Promise<void>} open asks the server, and shows what comes before a call
   * @param {string} gone code of the problem if the server knows of no such place */
  constructor(open, gone) {
    this.#open = open;
    this.#gone = gone;
  }

  async prepare() {
    if (!('RTCPeerConnection' in window)) return this.#fail({ code: 'no_webrtc', message: '', fatal: true });
    this.show(waitingScreen('One moment…'));
    try {
      await this.#open();
    } catch (error) {
      this.#fail(problemOf(error, this.#gone));
    }
    return undefined;
  }

  /** @param {HTMLElement} screen */
  show(screen) {
    const app = document.getElementById('app');
    const first = app?.childElementCount === 0;
    app?.replaceChildren(screen);
    const heading = screen.querySelector('h1');
    if (first || !heading) return;
    // The keyboard's place was on the screen that is gone.
    heading.tabIndex = -1;
    heading.focus();
  }

  /** @param {Session} call @param {HTMLElement} screen of it @param {() => HTMLElement} after what to show when it was
   * left; if it broke, the problem is shown */
  enter(call, screen, after) {
    call.addEventListener('ended', (event) => {
      const problem = /** @type {CustomEvent<Problem | null>} */ (event).detail;
      if (problem) this.#fail(problem);
      else this.show(after());
    });
    this.show(screen);
    call.start();
  }

  /** @param {Problem} problem */
  #fail(problem) {
    const again = () => (isElsewhere() ? location.assign(shareUrl()) : void this.prepare());
    this.show(problemScreen(problem, again));
  }
}

/** @param {unknown} error @param {string} gone @returns {Problem} */
function problemOf(error, gone) {
  if (!(error instanceof ApiError)) console.error(error); // a bug, perhaps: not only the network fails
  if (!(error instanceof ApiError) || error.status === 0) return { code: 'server_gone', message: '', fatal: true };
  if (error.status === 404) return { code: gone, message: '', fatal: true };
  return { code: '', message: error.message, fatal: true, retry_after_s: error.retryAfterS };
}
