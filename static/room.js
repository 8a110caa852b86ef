/** The room page: before, in and after the call. The only file here that knows all three. */

import { getEngine, getLanguages, getRoom } from './api.js';
import { Call } from './call/call.js';
import { Microphone } from './call/microphone.js';
import { CallScreen } from './screens/call-screen.js';
import { leftScreen } from './screens/message.js';
import { Page } from './screens/page.js';
import { PrejoinScreen } from './screens/prejoin.js';
import { Languages } from './ui/languages.js';

/** @typedef {import('./call/protocol.js').Room} Room */

const REFRESH_MS = 4_000;

const roomId = inAddress();

/** For debugging and tests: `dragoman.call` has `pc`, `socket`, `participant`, `slots` and `stats()`.
 * @type {{call: Call | null}} */
const debug = { call: null };
Object.assign(window, { dragoman: debug });

const page = new Page(async () => {
  const [room, engine, languages] = await Promise.all([getRoom(roomId), getEngine(), getLanguages()]);
  document.title = `${room.name} · Dragoman`;
  prejoin(room, engine, new Languages(languages));
}, 'room_not_found');

/** @returns {string} the room's id; of a link that was cut in the midst of a character, what is there: no room has that */
function inAddress() {
  const last = location.pathname.split('/').filter(Boolean).pop() ?? '';
  try {
    return decodeURIComponent(last);
  } catch {
    return last;
  }
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
  page.show(screen);
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
  page.enter(call, new CallScreen(call, room, languages, preferences), () =>
    leftScreen(roomId, room.name, call.options.language, () => void page.prepare()),
  );
}

void page.prepare();
