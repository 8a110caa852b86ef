/** The lobby: which rooms there are, and a way to open another. */

import { createRoom, getEngine, getRooms, roomPath } from './api.js';
import { EngineNotice } from './elements/engine-notice.js';
import { RoomList } from './elements/room-list.js';
import { h } from './ui/dom.js';
import { toast } from './ui/toast.js';

const POLL_MS = 4_000;

const notice = new EngineNotice();
const list = new RoomList();
document.getElementById('notice')?.append(notice);
document.getElementById('rooms')?.append(list);

async function poll() {
  if (document.hidden) return;
  try {
    const [rooms, engine] = await Promise.all([getRooms(), getEngine()]);
    list.rooms = rooms;
    notice.engine = engine;
  } catch (error) {
    list.problem = /** @type {Error} */ (error).message;
  }
}

const form = /** @type {HTMLFormElement} */ (document.getElementById('create'));
const name = /** @type {HTMLInputElement} */ (document.getElementById('room-name'));
const button = /** @type {HTMLButtonElement} */ (form.querySelector('button'));

form.addEventListener('submit', (event) => {
  event.preventDefault();
  button.disabled = true;
  createRoom(name.value.trim()).then(
    ({ id, url }) => {
      location.href = url ?? roomPath(id);
    },
    (error) => {
      const wait = error.retryAfterS ? ` Try again in ${Math.ceil(error.retryAfterS)} s.` : '';
      toast(error.message + wait, 'error');
      button.disabled = false;
    },
  );
});

// Coming back by the browser's back button finds the page as it was left.
window.addEventListener('pageshow', () => {
  button.disabled = false;
});
document.addEventListener('visibilitychange', () => {
  void poll();
});
setInterval(() => {
  void poll();
}, POLL_MS);
document.getElementById('rooms')?.setAttribute('aria-busy', 'true');
void poll().finally(() => document.getElementById('rooms')?.removeAttribute('aria-busy'));

// Everybody's own language, one at a time: the whole idea in one line.
const greeting = document.getElementById('greeting');
const GREETINGS = [
  ['en', 'Good morning'],
  ['es', 'Buenos días'],
  ['fr', 'Bonjour'],
  ['de', 'Guten Morgen'],
  ['pt', 'Bom dia'],
  ['it', 'Buongiorno'],
  ['tr', 'Günaydın'],
  ['el', 'Καλημέρα'],
  ['ru', 'Доброе утро'],
  ['ca', 'Bon dia'],
];
greeting?.replaceChildren(...GREETINGS.map(([lang, text]) => h('span', { lang }, text ?? '')));
