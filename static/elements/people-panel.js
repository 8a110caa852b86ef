import { h, setText } from '../ui/dom.js';
import { plural } from '../ui/people.js';
import { ParticipantTile } from './participant-tile.js';

/** @typedef {import('../call/call.js').Call} Call */
/** @typedef {import('../ui/languages.js').Languages} Languages */

/** Everybody in the room, oneself first. */
export class PeoplePanel extends HTMLElement {
  #call;
  #languages;
  #heading = h('h2', {}, 'People');
  #list = h('div', {
    class: 'people',
    role: 'list',
    'aria-label': 'People in this room',
    'data-testid': 'participants',
  });
  /** @type {Map<string, ParticipantTile>} */
  #tiles = new Map();

  /** @param {Call} call @param {Languages} languages */
  constructor(call, languages) {
    super();
    this.#call = call;
    this.#languages = languages;
    this.append(this.#heading, this.#list);
    call.addEventListener('people', () => this.#show());
    call.addEventListener('tick', () => this.#showLevels());
    this.addEventListener('volume', (event) => {
      const { personId, volume } = /** @type {CustomEvent} */ (event).detail;
      call.setVolume(personId, volume);
    });
  }

  #show() {
    const { roster, participant, options, guest } = this.#call;
    const people = plural(roster.people.size - (guest ? 1 : 0), 'person here', 'people here');
    setText(this.#heading, guest ? `${people}, and ${guest.name}` : people);
    for (const [id, tile] of this.#tiles) {
      if (roster.people.has(id)) continue;
      tile.remove();
      this.#tiles.delete(id);
    }
    for (const person of roster.people.values()) {
      const self = person.id === participant?.id;
      let tile = this.#tiles.get(person.id);
      if (!tile) {
        tile = new ParticipantTile(person, this.#languages, self ? null : this.#call.volume(person.id));
        this.#tiles.set(person.id, tile);
        if (self) this.#list.prepend(tile);
        else this.#list.append(tile);
      }
      const speaking = roster.speaking.has(person.id);
      tile.show(person, {
        self,
        speaking,
        interpreting: roster.interpreting.has(person.id),
        awaited: speaking && !self && this.#isInterpreted(person.speaks, options.language),
      });
    }
  }

  /** @param {string} source @param {string} target @returns {boolean} */
  #isInterpreted(source, target) {
    const heard = this.#languages.get(source)?.speech_in ?? false;
    return heard && source !== target && this.#languages.get(target)?.from[source] !== undefined;
  }

  #showLevels() {
    for (const [id, tile] of this.#tiles) tile.levels = this.#call.levels(id);
  }
}

customElements.define('people-panel', PeoplePanel);
