/** The page on which one talks with a voice: before, in and after the conversation. */

import { getConversation } from './api.js';
import { Conversation } from './call/conversation.js';
import { Microphone } from './call/microphone.js';
import { endedScreen } from './screens/message.js';
import { Page } from './screens/page.js';
import { TalkDoor } from './screens/talk-door.js';
import { TalkScreen } from './screens/talk-screen.js';

/** @typedef {import('./call/protocol.js').Dialogue} Dialogue */

const REFRESH_MS = 4_000;

/** For debugging and tests, as on the room's page. @type {{call: Conversation | null}} */
const debug = { call: null };
Object.assign(window, { dragoman: debug });

const page = new Page(async () => atTheDoor(await getConversation()), 'no_dialogue');

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
  page.show(door);
}

/** @param {Microphone} microphone @param {boolean} webAudio */
function begin(microphone, webAudio) {
  const call = new Conversation(microphone, webAudio);
  debug.call = call;
  page.enter(call, new TalkScreen(call), () => endedScreen(() => void page.prepare()));
}

void page.prepare();
