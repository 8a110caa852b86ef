/** On the way to a room, or to a voice, that lives on another server than this page: asks for a place there, says what it
 * waits for, and goes. */

import { ApiError, askForPlace } from './api.js';
import { problemScreen, waitingScreen } from './screens/message.js';

const RETRY_S = 3;

/** @param {HTMLElement} screen */
function show(screen) {
  document.getElementById('app')?.replaceChildren(screen);
}

async function open() {
  const path = location.pathname;
  let ticket = '';
  show(waitingScreen('Looking for the server…'));
  for (;;) {
    try {
      location.replace(await askForPlace(path, ticket));
      return;
    } catch (error) {
      const { status, message, retryAfterS, more } =
        error instanceof ApiError ? error : new ApiError(0, 'The server does not answer.');
      if (status >= 400 && status !== 429 && status !== 503) {
        const code = status === 404 ? (path === '/talk' ? 'no_dialogue' : 'room_not_found') : '';
        show(problemScreen({ code, message: code ? '' : message, fatal: true }, () => void open()));
        return;
      }
      ticket = String(more.ticket ?? ticket);
      const place = more.position ? ` You are number ${more.position} in the line, and come in by yourself.` : '';
      show(waitingScreen(message + place));
      await new Promise((resolve) => {
        setTimeout(resolve, (retryAfterS ?? RETRY_S) * 1000);
      });
    }
  }
}

void open();
