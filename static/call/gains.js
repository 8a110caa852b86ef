/** How loud each slot is: a pure function of who speaks, what is being interpreted, and what the listener likes. */

/** @typedef {import('./protocol.js').Slot} Slot */

/** The balance slider: 0 = original only, 0.5 = both alike, 1 = translation only. */
export const DEFAULT_BALANCE = 0.75;
const DUCK_DB_AT_DEFAULT = -15;
export const ATTACK_S = 0.08;
export const RELEASE_S = 0.3;

/** @param {number} balance @returns {number} factor for an original while its translation speaks */
export function duckedOriginal(balance) {
  if (balance >= 1) return 0;
  const db = (DUCK_DB_AT_DEFAULT * Math.max(0, balance - 0.5)) / (DEFAULT_BALANCE - 0.5);
  return 10 ** (db / 20);
}

/** @param {number} balance @returns {number} factor for a translation */
export function translationFactor(balance) {
  return Math.min(1, balance / 0.5);
}

/**
 * @param {Slot} slot
 * @param {{balance: number, volumes: Map<string, number>, interpreting: ReadonlySet<string>,
 *   interpreted: ReadonlySet<string>}} room  `interpreting`: whose translation speaks now; `interpreted`: who has one here
 * @returns {number}
 */
export function slotGain(slot, { balance, volumes, interpreting, interpreted }) {
  const volume = volumes.get(slot.participant_id) ?? 1;
  if (slot.variant === 'translation') return volume * translationFactor(balance);
  // Who wants originals only is told, too, when the interpreter speaks: nothing would be heard above a softened one.
  if (!interpreted.has(slot.participant_id)) return volume;
  if (balance >= 1) return 0;
  return volume * (interpreting.has(slot.participant_id) ? duckedOriginal(balance) : 1);
}
