/** How loud something is, 0 to 1, as a bar. Purely visual unless it gets a label. */
export class LevelMeter extends HTMLElement {
  /** @param {string} [label] */
  constructor(label) {
    super();
    this.append(document.createElement('span'));
    if (!label) {
      this.setAttribute('aria-hidden', 'true');
      return;
    }
    this.setAttribute('role', 'meter');
    this.setAttribute('aria-label', label);
    this.setAttribute('aria-valuemin', '0');
    this.setAttribute('aria-valuemax', '100');
  }

  /** @param {number} level */
  set level(level) {
    this.style.setProperty('--level', level.toFixed(2));
    if (this.hasAttribute('role')) this.setAttribute('aria-valuenow', String(Math.round(level * 100)));
  }
}

customElements.define('level-meter', LevelMeter);
