import { freshId, h, setText } from '../ui/dom.js';

/** @typedef {import('../ui/languages.js').Languages} Languages */
/** @typedef {import('../call/protocol.js').Language} Language */

/**
 * @typedef {object} PickerOptions
 * @property {string} label
 * @property {string} testid of the native <select>
 * @property {Languages} languages
 * @property {string} value
 * @property {[string, (language: Language) => boolean][]} groups headings and who belongs under them; first match wins
 * @property {(language: Language) => string} [mark] a remark behind the name
 * @property {[string, string][]} [extra] options before all languages: value and label
 * @property {(value: string) => string} [note] a sentence about the choice
 * @property {boolean} [compact] no visible label, no search, short names
 */

const SEARCH_FROM = 13;

/** Chooses a language: a native <select>, with a search field once the list is long. Fires `change`. */
export class LanguagePicker extends HTMLElement {
  #options;
  #select;
  #note = h('p', { class: 'note', 'aria-live': 'polite' });
  #count = h('p', { class: 'visually-hidden', 'aria-live': 'polite' });
  #query = '';

  /** @param {PickerOptions} options */
  constructor(options) {
    super();
    this.#options = options;
    const id = freshId('language');
    this.#select = h('select', { id, 'data-testid': options.testid, 'aria-label': options.compact && options.label });
    this.#select.addEventListener('change', () => this.#showNote());
    this.#fill(options.value);
    if (options.compact) {
      this.append(this.#select);
      return;
    }
    this.append(h('label', { for: id }, options.label));
    if (options.languages.list.length >= SEARCH_FROM) this.append(this.#search(), this.#count);
    this.append(this.#select, this.#note);
    this.#showNote();
  }

  get value() {
    return this.#select.value;
  }

  set value(value) {
    this.#query = '';
    this.#fill(value);
    this.#showNote();
  }

  /** Replaces the options that stand before all languages. @param {[string, string][]} extra */
  setExtra(extra) {
    this.#options.extra = extra;
    this.#fill(this.value);
    this.#showNote();
  }

  #search() {
    const input = h('input', {
      type: 'search',
      class: 'search',
      placeholder: 'Search languages',
      autocomplete: 'off',
      'aria-label': `Search: ${this.#options.label}`,
      change: (event) => event.stopPropagation(),
    });
    input.addEventListener('input', () => {
      this.#query = input.value;
      const found = this.#fill(this.value);
      setText(this.#count, `${found} languages match`);
    });
    input.addEventListener('keydown', (event) => {
      if (event.key !== 'Enter') return;
      event.preventDefault();
      const first = this.#matching()[0];
      if (!this.#query || !first) return;
      input.value = '';
      this.value = first.code;
      this.#select.dispatchEvent(new Event('change', { bubbles: true }));
      this.#select.focus();
    });
    return input;
  }

  #matching() {
    const { languages, groups } = this.#options;
    return languages.list.filter(
      (language) => groups.some(([, belongs]) => belongs(language)) && languages.matches(language, this.#query),
    );
  }

  /** @param {string} value stays an option even when the search does not match it @returns {number} matches */
  #fill(value) {
    const { languages, groups, extra = [], mark, compact } = this.#options;
    const matching = this.#matching();
    const current = languages.get(value);
    const shown = current && !matching.includes(current) ? [current, ...matching] : matching;
    const left = new Set(shown);
    const headings = groups.flatMap(([heading, belongs]) => {
      const members = shown.filter((language) => left.has(language) && belongs(language));
      for (const member of members) left.delete(member);
      const options = members.map((language) => {
        const remark = mark?.(language);
        return h(
          'option',
          { value: language.code },
          (compact ? languages.short(language) : languages.label(language)) + (remark ? ` · ${remark}` : ''),
        );
      });
      return options.length ? [h('optgroup', { label: heading }, ...options)] : [];
    });
    this.#select.replaceChildren(...extra.map(([code, label]) => h('option', { value: code }, label)), ...headings);
    this.#select.value = value;
    if (this.#select.selectedIndex < 0) this.#select.selectedIndex = 0;
    return matching.length;
  }

  #showNote() {
    const text = this.#options.note?.(this.value) ?? '';
    setText(this.#note, text);
    this.#note.hidden = !text;
  }
}

customElements.define('language-picker', LanguagePicker);

/**
 * The picker of what one wants to hear, as prejoin and the room use it.
 * @param {Pick<PickerOptions, 'label' | 'testid' | 'languages' | 'value' | 'compact'>} options
 */
export function hearPicker(options) {
  const { languages } = options;
  return new LanguagePicker({
    ...options,
    groups: [
      ['Voice and captions', (l) => l.speech_out],
      ['Captions only', (l) => l.text],
    ],
    mark: (language) => {
      const via = languages.via(language);
      return via.length ? `via ${via.map((code) => languages.english(code)).join(', ')}` : '';
    },
    note: (code) => languages.hearingNote(code),
  });
}

/**
 * The picker of what one speaks; the empty value means "the same as I hear".
 * @param {{label: string, testid: string, languages: Languages, value: string, hear: () => string}} options
 */
export function speaksPicker({ hear, ...options }) {
  const { languages } = options;
  return new LanguagePicker({
    ...options,
    extra: sameAs(languages, hear()),
    groups: [
      ['Understood when spoken', (l) => l.speech_in],
      ['Only typed words are translated', () => true],
    ],
    note: (value) => languages.speakingNote(value || hear()),
  });
}

/** @param {Languages} languages @param {string} hear @returns {[string, string][]} */
export function sameAs(languages, hear) {
  /** @type {[string, string][]} */
  const extra = [['', `The same as I hear (${languages.english(hear)})`]];
  if (languages.understood.length > 1) extra.push(['auto', 'Let the interpreter find out']);
  return extra;
}
