/** The room page: before, in and after the call. The only file here that knows all three. */

import { ApiError, getEngine, getLanguages, getRoom } from './api.js';
import { Call } from './call/call.js';
import { Microphone } from './call/microphone.js';
import { CallScreen } from './screens/call-screen.js';
import { leftScreen, problemScreen, waitingScreen } from './screens/message.js';
import { PrejoinScreen } from './screens/prejoin.js';
import { Languages } from './ui/languages.js';

/** @typedef {import('./call/protocol.js').Problem} Problem */
/** @typedef {import('./call/protocol.js').Room} Room */

const REFRESH_MS = 4_000;

const roomId = decodeURIComponent(location.pathname.split('/').filter(Boolean).pop() ?? '');

/** For debugging and tests: `dragoman.call` has `pc`, `socket`, `participant`, `slots` and `stats()`.
 * @type {{call: Call | null}} */
const debug = { call: null };
Object.assign(window, { dragoman: debug });

/** @param {HTMLElement} screen */
function show(screen) {
  const app = document.getElementById('app');
  const first = app?.childElementCount === 0;
  app?.replaceChildren(screen);
  const heading = screen.querySelector('h1');
  if (first || !heading) return;
  // The keyboard's place was on the screen that is gone.
  heading.tabIndex = -1;
  heading.focus();
}

/** @param {unknown} error @returns {Problem} */
function problemOf(error) {
  if (!(error instanceof ApiError) || error.status === 0) return { code: 'server_gone', message: '', fatal: true };
  if (error.status === 404) return { code: 'room_not_found', message: '', fatal: true };
  return { code: '', message: error.message, fatal: true, retry_after_s: error.retryAfterS };
}

/** @param {Problem} problem */
function fail(problem) {
  show(
    problemScreen(problem, () => {
      void prepare();
    }),
  );
}

/** Everything up to the join click. */
async function prepare() {
  if (!('RTCPeerConnection' in window)) return fail({ code: 'no_webrtc', message: '', fatal: true });
  show(waitingScreen('One moment…'));
  try {
    const [room, engine, languages] = await Promise.all([getRoom(roomId), getEngine(), getLanguages()]);
    document.title = `${room.name} · Dragoman`;
    prejoin(room, engine, new Languages(languages));
  } catch (error) {
    fail(problemOf(error));
  }
  return undefined;
}

/** @param {Room} room @param {import('./call/protocol.js').Engine} engine @param {Languages} languages */
function prejoin(room, engine, languages) {
  const microphone = new Microphone();
  const screen = new PrejoinScreen(room, engine, languages, microphone);
  const refresh = setInterval(() => {
    if (document.hidden) return;
    getRoom(roomId).then(
      (fresh) => {
        screen.room = fresh;
      },
      () => {},
    );
    if (engine.state !== 'ready') {
      getEngine().then(
        (fresh) => {
          Object.assign(engine, fresh);
          screen.engine = fresh;
        },
        () => {},
      );
    }
  }, REFRESH_MS);
  screen.addEventListener('join', (event) => {
    clearInterval(refresh);
    enter(
      room,
      languages,
      microphone,
      /** @type {CustomEvent<import('./screens/prejoin.js').JoinChoice>} */ (event).detail,
    );
  });
  show(screen);
}

/** @param {Room} room @param {Languages} languages @param {Microphone} microphone
 * @param {import('./screens/prejoin.js').JoinChoice} choice */
function enter(room, languages, microphone, { preferences, webAudio }) {
  const { name, language, mix, balance } = preferences;
  const call = new Call(
    { roomId, name, language, mix, balance, speaks: preferences.speaks || language },
    microphone,
    webAudio,
  );
  debug.call = call;
  call.addEventListener('ended', (event) => {
    const problem = /** @type {CustomEvent<Problem | null>} */ (event).detail;
    if (problem) fail(problem);
    else
      show(
        leftScreen(roomId, room.name, call.options.language, () => {
          void prepare();
        }),
      );
  });
  show(new CallScreen(call, room, languages, preferences));
  call.start();
}

void prepare();
