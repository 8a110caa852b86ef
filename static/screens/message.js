import { pageUrl, transcriptUrl } from '../api.js';
import { h } from '../ui/dom.js';
import { describe, isPermanent } from '../ui/problems.js';

/** @typedef {import('../call/protocol.js').Problem} Problem */

/** Screens that say one thing and offer a way on. @param {string | null} testid @param {...Node} children */
function message(testid, ...children) {
  return h(
    'main',
    { class: 'message-screen', 'data-testid': testid },
    h('img', { src: '/static/logo.svg', alt: '', width: 56, height: 56 }),
    ...children,
  );
}

const toLobby = () => h('a', { class: 'button', href: pageUrl('/') }, 'Back to the lobby');

/** @param {string} text */
export function waitingScreen(text) {
  return message(null, h('p', { class: 'lead', role: 'status' }, text));
}

/** @param {Problem} problem @param {() => void} again */
export function problemScreen(problem, again) {
  const { title, text, retry } = describe(problem);
  const tryAgain = h('button', { type: 'button', class: 'primary', click: again }, 'Try again');
  const ways = isPermanent(problem.code) ? [toLobby()] : [tryAgain, toLobby()];
  return message(
    'error',
    h('div', { role: 'alert' }, h('h1', {}, title), h('p', { class: 'lead' }, text), retry && h('p', {}, retry)),
    h('p', { class: 'ways' }, ...ways),
  );
}

/** After a conversation. @param {() => void} again */
export function endedScreen(again) {
  return message(
    'left',
    h('h1', {}, 'The conversation is over'),
    h(
      'p',
      { class: 'ways' },
      h('button', { type: 'button', class: 'primary', 'data-testid': 'rejoin', click: again }, 'Talk again'),
      toLobby(),
    ),
  );
}

/** @param {string} roomId @param {string} roomName @param {string} language @param {() => void} again */
export function leftScreen(roomId, roomName, language, again) {
  const links = /** @type {const} */ (['txt', 'vtt', 'json']).map((format) =>
    h('a', { href: transcriptUrl(roomId, language, format), download: true }, `.${format}`),
  );
  return message(
    'left',
    h('h1', {}, 'You left'),
    h('p', { class: 'lead' }, `The others go on in “${roomName}”.`),
    h(
      'p',
      { class: 'ways' },
      h('button', { type: 'button', class: 'primary', 'data-testid': 'rejoin', click: again }, 'Join again'),
      toLobby(),
    ),
    h('p', { class: 'downloads' }, 'Take the transcript with you: ', ...links),
  );
}
