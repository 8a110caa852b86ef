import { freshId, h, icon, setText } from '../ui/dom.js';

/**
 * @typedef {object} Choice
 * @property {string} value
 * @property {string} name
 * @property {string} [lang] BCP-47 tag of the name
 * @property {string} [gloss] the name in English, where it differs
 * @property {string} [remark]
 * @property {number} rank how well it answers the query; 0 is best
 */

/** @typedef {{heading: string, choices: Choice[]}} Group  an empty heading: none */

const PAGE = 8;
const LONG = 12;
const NARROW = '(max-width: 44rem), (max-height: 30rem)';
const MARGIN_PX = 8;
const WIDTH_PX = 340;
const HEIGHT_PX = 460;

/**
 * A list to choose from, with a search field, over everything else: beside the button it belongs to, on a small screen a
 * sheet. Fires `choose` with the value, and `close` after that or without.
 *
 * To assistive technology it is a dialog with a combobox that controls a listbox (ARIA Authoring Practices, "Editable
 * Combobox With List Autocomplete"): focus stays in the field, `aria-activedescendant` tells where the arrows are.
 */
export class ChoiceDialog extends HTMLElement {
  #groupsFor;
  #value = '';
  /** @type {HTMLElement[]} in the order shown */
  #shown = [];
  #active = -1;
  /** @type {HTMLElement | null} the button it stands beside */
  #anchor = null;
  #listId = freshId('choices');
  #search;
  #list;
  #count = h('p', { class: 'matches', role: 'status' });
  #dialog;

  /**
   * @param {string} label what is chosen
   * @param {string} testid
   * @param {(query: string) => Group[]} groupsFor all choices for an empty query, those that match for another
   */
  constructor(label, testid, groupsFor) {
    super();
    this.#groupsFor = groupsFor;
    this.#search = h('input', {
      type: 'text',
      class: 'search',
      role: 'combobox',
      placeholder: 'Search',
      autocomplete: 'off',
      autocapitalize: 'none',
      spellcheck: 'false',
      enterkeyhint: 'done',
      'aria-label': `Search: ${label}`,
      'aria-autocomplete': 'list',
      'aria-expanded': 'true',
      'aria-controls': this.#listId,
      'data-testid': `${testid}-search`,
      input: () => this.#fill(),
      change: (/** @type {Event} */ event) => event.stopPropagation(), // not a choice yet
    });
    this.#list = h('div', {
      id: this.#listId,
      class: 'options',
      role: 'listbox',
      tabindex: 0,
      'aria-label': label,
      click: (/** @type {Event} */ event) => this.#choose(optionOf(event)),
      pointermove: (/** @type {Event} */ event) => {
        const option = optionOf(event);
        if (option) this.#activate(this.#shown.indexOf(option));
      },
    });
    this.#dialog = h(
      'dialog',
      {
        class: 'choices',
        'aria-label': label,
        'data-testid': `${testid}-dialog`,
        keydown: (/** @type {KeyboardEvent} */ event) => this.#press(event),
        click: (/** @type {Event} */ event) => event.target === this.#dialog && this.close(), // its backdrop
        close: () => this.#closed(),
      },
      h(
        'header',
        {},
        h('span', { class: 'title', 'aria-hidden': 'true' }, label),
        h('button', { type: 'button', class: 'bare', 'aria-label': 'Close', click: () => this.close() }, icon('close')),
        this.#search,
      ),
      this.#list,
      this.#count,
    );
    this.append(this.#dialog);
  }

  /** @param {HTMLElement} anchor @param {string} value chosen now @param {string} [query] typed already */
  open(anchor, value, query = '') {
    this.#value = value;
    this.#search.value = query;
    this.#anchor = anchor;
    this.#dialog.classList.toggle('is-long', this.#groupsFor('').flatMap(({ choices }) => choices).length > LONG);
    this.#fill();
    this.#dialog.showModal();
    this.#place();
    window.addEventListener('resize', this.#place);
    // On a touch screen the keyboard would cover the list: it comes when the field is touched.
    if (matchMedia('(pointer: coarse)').matches && !query) this.#list.focus();
    else this.#search.focus();
    this.#search.setSelectionRange(query.length, query.length);
    this.#shown[this.#active]?.scrollIntoView({ block: 'center' });
  }

  close() {
    this.#dialog.close();
  }

  disconnectedCallback() {
    this.#dialog.close();
  }

  #closed() {
    window.removeEventListener('resize', this.#place);
    this.dispatchEvent(new Event('close'));
  }

  /** Beside the anchor, where there is more room. The stylesheet makes a sheet of it on a small screen. */
  #place = () => {
    if (!this.#anchor) return;
    const { style } = this.#dialog;
    const { left, top, bottom, width } = this.#anchor.getBoundingClientRect();
    const wide = Math.max(width, WIDTH_PX);
    const [above, below] = [top - 2 * MARGIN_PX, innerHeight - bottom - 2 * MARGIN_PX];
    const up = below < HEIGHT_PX && above > below;
    style.setProperty('--width', `${wide}px`);
    style.setProperty('--left', `${Math.max(MARGIN_PX, Math.min(left, innerWidth - wide - MARGIN_PX))}px`);
    style.setProperty('--top', up ? 'auto' : `${bottom + MARGIN_PX / 2}px`);
    style.setProperty('--bottom', up ? `${innerHeight - top + MARGIN_PX / 2}px` : 'auto');
    style.setProperty('--room', `${Math.min(HEIGHT_PX, up ? above : below)}px`);
    // It keeps its height when a search leaves fewer, or the field would jump.
    style.removeProperty('--height');
    if (!matchMedia(NARROW).matches) style.setProperty('--height', `${this.#dialog.offsetHeight}px`);
  };

  #fill() {
    const query = this.#search.value;
    const groups = this.#groupsFor(query);
    this.#list.replaceChildren(...groups.map((group) => this.#group(group)));
    /** @type {NodeListOf<HTMLElement>} */
    const options = this.#list.querySelectorAll('[role=option]');
    this.#shown = [...options];
    const choices = groups.flatMap((group) => group.choices);
    const best = Math.min(...choices.map(({ rank }) => rank));
    const first = choices.findIndex(({ value, rank }) => (query ? rank === best : value === this.#value));
    this.#activate(first, 'start');
    if (!query) setText(this.#count, '');
    else if (choices.length) setText(this.#count, choices.length === 1 ? '1 match' : `${choices.length} matches`);
    else setText(this.#count, `Nothing matches “${query.trim()}”.`);
    this.#count.classList.toggle('visually-hidden', choices.length > 0);
  }

  /** @param {Group} group */
  #group({ heading, choices }) {
    const options = choices.map((choice) => this.#option(choice));
    if (!heading) return h('div', { role: 'presentation' }, ...options);
    const id = freshId('group');
    const title = h('div', { id, class: 'heading', role: 'presentation' }, heading);
    return h('div', { role: 'group', 'aria-labelledby': id }, title, ...options);
  }

  /** @param {Choice} choice */
  #option({ value, name, lang, gloss, remark }) {
    return h(
      'div',
      { id: freshId('option'), role: 'option', 'data-value': value, 'aria-selected': String(value === this.#value) },
      h('bdi', { lang }, name),
      gloss && h('span', { class: 'gloss' }, gloss),
      remark && h('span', { class: 'gloss' }, `· ${remark}`),
      icon('check'),
    );
  }

  /** @param {number} index @param {ScrollLogicalPosition} [block] where it is scrolled to, if at all */
  #activate(index, block) {
    this.#shown[this.#active]?.classList.remove('is-active');
    this.#active = index;
    const option = this.#shown[index];
    for (const holder of [this.#search, this.#list]) {
      if (option) holder.setAttribute('aria-activedescendant', option.id);
      else holder.removeAttribute('aria-activedescendant');
    }
    option?.classList.add('is-active');
    if (block) option?.scrollIntoView({ block });
  }

  /** @param {number} index wherever beyond the ends */
  #move(index) {
    this.#activate(Math.max(0, Math.min(index, this.#shown.length - 1)), 'nearest');
  }

  /** @param {KeyboardEvent} event */
  #press(event) {
    event.stopPropagation(); // keys here are for the list: M is not for the microphone
    const typing = event.target === this.#search && this.#search.value !== '';
    /** @type {Record<string, () => void>} */
    const keys = {
      ArrowDown: () => this.#move(this.#active + 1),
      ArrowUp: () => this.#move(this.#active - 1),
      PageDown: () => this.#move(this.#active + PAGE),
      PageUp: () => this.#move(this.#active - PAGE),
      Escape: () => this.close(),
    };
    const inList = event.target === this.#search || event.target === this.#list;
    if (inList) keys['Enter'] = () => this.#choose(this.#shown[this.#active]);
    if (!typing) Object.assign(keys, { Home: () => this.#move(0), End: () => this.#move(Infinity) });
    const act = event.isComposing ? undefined : keys[event.key];
    if (act) {
      event.preventDefault();
      act();
    } else if (event.target === this.#list && isText(event)) {
      this.#search.focus(); // before the letter arrives
    }
  }

  /** @param {HTMLElement | null | undefined} option */
  #choose(option) {
    if (!option) return;
    const detail = option.dataset['value'] ?? '';
    this.close();
    this.dispatchEvent(new CustomEvent('choose', { detail }));
  }
}

/** Whether a key writes something. @param {KeyboardEvent} event */
export function isText({ key, ctrlKey, metaKey, altKey }) {
  return [...key].length === 1 && key !== ' ' && !ctrlKey && !metaKey && !altKey;
}

/** @param {Event} event @returns {HTMLElement | null} */
function optionOf({ target }) {
  return target instanceof Element ? target.closest('[role=option]') : null;
}

customElements.define('choice-dialog', ChoiceDialog);
