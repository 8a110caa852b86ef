/** @typedef {import('./protocol.js').Participant} Participant */
/** @typedef {import('./protocol.js').Slot} Slot */
/** @typedef {import('./protocol.js').Variant} Variant */

/** Who is here, who speaks, whose voice is in which slot. Plain data; the call asks it and the screen shows it. */
export class Roster {
  /** @type {Map<string, Participant>} */
  people = new Map();
  /** @type {Map<string, Slot>} by mid */
  slots = new Map();
  /** Who speaks with their own voice. @type {Set<string>} */
  speaking = new Set();
  /** Whose words the interpreter speaks to me. @type {Set<string>} */
  interpreting = new Set();

  /** @param {Participant[]} people @param {Slot[]} slots */
  reset(people, slots) {
    this.people = new Map(people.map((person) => [person.id, person]));
    this.setSlots(slots);
    this.speaking.clear();
    this.interpreting.clear();
  }

  /** @param {Slot[]} slots the occupied ones, complete @returns {Set<string>} the mids that got another voice */
  setSlots(slots) {
    const before = this.slots;
    this.slots = new Map(slots.map((slot) => [slot.mid, slot]));
    return new Set(
      slots.flatMap(({ mid, participant_id, variant }) => {
        const was = before.get(mid);
        return was?.participant_id === participant_id && was.variant === variant ? [] : [mid];
      }),
    );
  }

  /** @param {string} id */
  remove(id) {
    this.people.delete(id);
    this.speaking.delete(id);
    this.interpreting.delete(id);
  }

  /** @param {string} id @param {Variant} variant @param {boolean} active */
  setSpeech(id, variant, active) {
    const set = variant === 'translation' ? this.interpreting : this.speaking;
    if (active) set.add(id);
    else set.delete(id);
  }

  /** Everybody whose translation has a slot here. @returns {Set<string>} */
  interpreted() {
    return new Set(
      [...this.slots.values()].flatMap((slot) => (slot.variant === 'translation' ? [slot.participant_id] : [])),
    );
  }
}
