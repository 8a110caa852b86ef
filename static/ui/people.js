import { h } from './dom.js';

const HUES = 24;

/** A person's hue in degrees, the same in every browser. @param {string} id */
export function hueOf(id) {
  let hash = 2166136261; // FNV-1a
  for (const character of id) hash = Math.imul(hash ^ (character.codePointAt(0) ?? 0), 16777619);
  return ((hash >>> 0) % HUES) * (360 / HUES);
}

/** @param {string} name @returns {string} one or two letters */
export function initialsOf(name) {
  const words = name.trim().split(/\s+/u).filter(Boolean);
  const letters = words.length > 1 ? [words[0], words[words.length - 1]] : words;
  return letters.map((word) => [...word][0]?.toLocaleUpperCase() ?? '').join('') || '?';
}

/** Gives an element and all inside it a person's colour (the stylesheet derives tones per theme).
 * @param {HTMLElement} element @param {string} id */
export function paint(element, id) {
  element.style.setProperty('--hue', String(hueOf(id)));
}

/** @param {{id: string, name: string}} person @returns {HTMLElement} decoration: the name is always beside it */
export function avatar({ id, name }) {
  const element = h('span', { class: 'avatar', 'aria-hidden': 'true' }, initialsOf(name));
  paint(element, id);
  return element;
}

/** @param {number} count @param {string} one @param {string} many */
export function plural(count, one, many) {
  return `${count} ${count === 1 ? one : many}`;
}
