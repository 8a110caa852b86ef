import { roomPath } from '../api.js';
import { h, icon } from '../ui/dom.js';
import { plural } from '../ui/people.js';

/** @typedef {import('../call/protocol.js').Room} Room */

/** The rooms one can enter. */
export class RoomList extends HTMLElement {
  #list = h('ul', { class: 'rooms', 'data-testid': 'room-list' });
  #status = h('div', { class: 'rooms-status', role: 'status' }, h('p', { class: 'note' }, 'Looking for rooms…'));
  #shown = '';

  constructor() {
    super();
    this.append(this.#list, this.#status);
  }

  /** @param {Room[]} rooms */
  set rooms(rooms) {
    const fresh = JSON.stringify(rooms);
    if (fresh === this.#shown) return; // a list rebuilt for nothing would lose the keyboard's place
    this.#shown = fresh;
    const focused = document.activeElement?.getAttribute('href');
    this.#list.replaceChildren(...rooms.map((room) => this.#row(room)));
    if (focused) this.#list.querySelector(/** @type {'a'} */ (`a[href="${CSS.escape(focused)}"]`))?.focus();
    this.#status.replaceChildren(
      ...(rooms.length
        ? []
        : [
            h('p', { class: 'lead' }, 'No room is open.'),
            h('p', {}, 'Open one, and send its link to somebody who speaks another language.'),
          ]),
    );
  }

  /** @param {string} text why the list is not known */
  set problem(text) {
    if (text === this.#shown) return;
    this.#shown = text;
    this.#list.replaceChildren();
    this.#status.replaceChildren(
      h('p', { class: 'lead', 'data-testid': 'error', role: 'alert' }, text),
      h('p', {}, 'Trying again every few seconds.'),
    );
  }

  /** @param {Room} room */
  #row({ id, name, url, participant_count, capacity }) {
    const full = capacity !== undefined && participant_count >= capacity;
    const heads = participant_count ? plural(participant_count, 'person', 'people') : 'empty';
    return h(
      'li',
      {},
      h(
        'a',
        { href: url ?? roomPath(id), 'data-room-id': id },
        h('span', { class: 'room-name' }, name),
        h('span', { class: 'heads' }, icon('people'), full ? `${heads}, full` : heads),
      ),
    );
  }
}

customElements.define('room-list', RoomList);
