import { DEFAULT_BALANCE } from '../call/gains.js';

/**
 * What this browser remembers between calls.
 *
 * @typedef {{name: string, language: string, speaks: string, mic: string, mix: import('../call/protocol.js').Mix,
 *   balance: number, pushToTalk: boolean}} Preferences  `speaks`: empty = the same as `language`
 */

const KEY = 'dragoman';

/** @type {Preferences} */
const DEFAULTS = {
  name: '',
  language: '',
  speaks: '',
  mic: '',
  mix: 'both',
  balance: DEFAULT_BALANCE,
  pushToTalk: false,
};

/** @returns {Preferences} */
export function loadPreferences() {
  try {
    return { ...DEFAULTS, ...JSON.parse(localStorage.getItem(KEY) ?? '{}') };
  } catch {
    return { ...DEFAULTS }; // storage is switched off, or somebody wrote nonsense into it
  }
}

/** @param {Partial<Preferences>} change */
export function savePreferences(change) {
  try {
    localStorage.setItem(KEY, JSON.stringify({ ...loadPreferences(), ...change }));
  } catch {
    // storage is switched off or full: nothing is remembered, nothing breaks
  }
}
