/** The page on which one talks with a voice: before, in and after the conversation. */

import { ApiError, getConversation } from './api.js';
import { Conversation } from './call/conversation.js';
import { Microphone } from './call/microphone.js';
import { endedScreen, problemScreen, waitingScreen } from './screens/message.js';
import { TalkDoor } from './screens/talk-door.js';
import { TalkScreen } from './screens/talk-screen.js';

/** @typedef {import('./call/protocol.js').Dialogue} Dialogue */
/** @typedef {import('./call/protocol.js').Problem} Problem */

const REFRESH_MS = 4_000;

/** For debugging and tests, as on the room's page. @type {{call: Conversation | null}} */
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

/** @param {Problem} problem */
function fail(problem) {
  show(
    problemScreen(problem, () => {
      void prepare();
    }),
  );
}

async function prepare() {
  if (!('RTCPeerConnection' in window)) return fail({ code: 'no_webrtc', message: '', fatal: true });
  show(waitingScreen('One moment…'));
  try {
    atTheDoor(await getConversation());
  } catch (error) {
    const { status, message } = error instanceof ApiError ? error : { status: 0, message: '' };
    fail({ code: status === 404 ? 'no_dialogue' : 'server_gone', message: status ? message : '', fatal: true });
  }
  return undefined;
}

/** @param {Dialogue} dialogue */
function atTheDoor(dialogue) {
  const microphone = new Microphone();
  const door = new TalkDoor(dialogue, microphone);
  const refresh = setInterval(() => {
    if (document.hidden) return;
    getConversation().then(
      (fresh) => {
        door.dialogue = fresh;
      },
      () => {},
    );
  }, REFRESH_MS);
  door.addEventListener('begin', (event) => {
    clearInterval(refresh);
    begin(microphone, /** @type {CustomEvent<boolean>} */ (event).detail);
  });
  show(door);
}

/** @param {Microphone} microphone @param {boolean} webAudio */
function begin(microphone, webAudio) {
  const call = new Conversation(microphone, webAudio);
  debug.call = call;
  call.addEventListener('ended', (event) => {
    const problem = /** @type {CustomEvent<Problem | null>} */ (event).detail;
    if (problem) fail(problem);
    else
      show(
        endedScreen(() => {
          void prepare();
        }),
      );
  });
  show(new TalkScreen(call));
  call.start();
}

void prepare();
