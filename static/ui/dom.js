/** @typedef {Node | string | null | undefined | false} Child */

/**
 * Builds an element. Functions become listeners of the event they are named after, `true` an empty attribute, `false`
 * and null nothing. Texts become text nodes: names and captions come from strangers and are never parsed as HTML.
 *
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag
 * @param {Record<string, string | number | boolean | null | undefined | ((event: any) => void)>} [attributes]
 * @param {...Child} children
 * @returns {HTMLElementTagNameMap[K]}
 */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === 'function') element.addEventListener(name, value);
    else if (value === true) element.setAttribute(name, '');
    else if (value !== false && value != null) element.setAttribute(name, String(value));
  }
  element.append(...present(children));
  return element;
}

/** @param {Child[]} children @returns {(Node | string)[]} */
export function present(children) {
  return /** @type {(Node | string)[]} */ (children.filter((child) => child || child === ''));
}

const SVG = 'http://www.w3.org/2000/svg';

/** @param {string} name of a symbol in icons.svg @returns {SVGSVGElement} hidden from screen readers */
export function icon(name) {
  const svg = document.createElementNS(SVG, 'svg');
  const use = document.createElementNS(SVG, 'use');
  use.setAttribute('href', `/static/icons.svg#${name}`);
  svg.setAttribute('class', 'icon');
  svg.setAttribute('aria-hidden', 'true');
  svg.append(use);
  return svg;
}

/** @param {SVGSVGElement} svg @param {string} name */
export function setIcon(svg, name) {
  const href = `/static/icons.svg#${name}`;
  const use = svg.firstElementChild;
  if (use?.getAttribute('href') !== href) use?.setAttribute('href', href);
}

let ids = 0;

/** A fresh id, to tie a label to its field. @param {string} prefix */
export function freshId(prefix) {
  ids += 1;
  return `${prefix}-${ids}`;
}

/** Sets a text only when it differs, so that screen readers are not told twice. @param {Element} element
 * @param {string} text */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
