import { freshId, h, setText } from '../ui/dom.js';
import { ChoiceDialog, isText } from './choice-dialog.js';

/** @typedef {import('../ui/languages.js').Languages} Languages */
/** @typedef {import('../call/protocol.js').Language} Language */
/** @typedef {import('./choice-dialog.js').Group} Group */

/**
 * @typedef {object} PickerOptions
 * @property {string} label
 * @property {string} testid of the button; its `value` is the chosen one
 * @property {Languages} languages
 * @property {string} value
 * @property {[string, (language: Language) => boolean][]} groups headings and who belongs under them; first match wins
 * @property {(language: Language) => string} [mark] a remark behind the name
 * @property {[string, string][]} [extra] choices before all languages: value and label
 * @property {(value: string) => string} [note] a sentence about the choice
 * @property {boolean} [compact] no visible label, short names
 */

/** Chooses a language: a button that says which, and opens a list to search. Fires `change`. */
export class LanguagePicker extends HTMLElement {
  #options;
  #value = '';
  #shown = h('span', { id: freshId('language') });
  #button;
  #dialog;
  #note = h('p', { class: 'note', 'aria-live': 'polite' });

  /** @param {PickerOptions} options */
  constructor(options) {
    super();
    this.#options = options;
    const label = h('label', { id: freshId('label') }, options.label);
    this.#button = h(
      'button',
      {
        type: 'button',
        id: freshId('choose'),
        class: 'choice',
        'aria-haspopup': 'dialog',
        'aria-expanded': 'false',
        'aria-labelledby': `${label.id} ${this.#shown.id}`,
        'data-testid': options.testid,
        click: () => this.#open(),
        keydown: (/** @type {KeyboardEvent} */ event) => this.#press(event),
      },
      this.#shown,
    );
    label.htmlFor = this.#button.id;
    label.classList.toggle('visually-hidden', options.compact ?? false);
    this.#dialog = new ChoiceDialog(options.label, options.testid, (query) => this.#groups(query));
    this.#dialog.addEventListener('close', () => this.#button.setAttribute('aria-expanded', 'false'));
    this.#dialog.addEventListener('choose', (event) => this.#choose(/** @type {CustomEvent} */ (event).detail));
    this.append(label, this.#button, this.#note, this.#dialog);
    this.value = options.value;
  }

  get value() {
    return this.#value;
  }

  /** What is not on the list becomes the list's first. */
  set value(value) {
    const choices = this.#groups('').flatMap((group) => group.choices);
    this.#value = (choices.find((choice) => choice.value === value) ?? choices[0])?.value ?? '';
    this.#show();
  }

  /** Replaces the choices that stand before all languages. @param {[string, string][]} extra */
  setExtra(extra) {
    this.#options.extra = extra;
    this.value = this.#value;
  }

  /** @param {string} [query] */
  #open(query) {
    this.#button.setAttribute('aria-expanded', 'true');
    this.#dialog.open(this.#button, this.#value, query);
  }

  /** As on a native select: arrows open it, letters too and are searched for. @param {KeyboardEvent} event */
  #press(event) {
    const arrow = event.key === 'ArrowDown' || event.key === 'ArrowUp';
    if (!arrow && !isText(event)) return;
    event.preventDefault();
    event.stopPropagation(); // M is not for the microphone here
    this.#open(arrow ? '' : event.key);
  }

  /** @param {string} value */
  #choose(value) {
    if (value === this.#value) return;
    this.value = value;
    this.dispatchEvent(new Event('change', { bubbles: true }));
  }

  /** @param {string} query @returns {Group[]} none of them empty */
  #groups(query) {
    const { languages, groups, extra = [], mark } = this.#options;
    const special = extra.map(([value, name]) => ({ value, name, rank: languages.rankOf([name], query) }));
    const left = new Set(languages.list);
    const named = groups.map(([heading, belongs]) => {
      const members = languages.list.filter((language) => left.has(language) && belongs(language));
      for (const member of members) left.delete(member);
      const choices = members.map((language) => ({
        value: language.code,
        name: languages.short(language),
        lang: language.code,
        gloss: languages.gloss(language),
        remark: mark?.(language) ?? '',
        rank: languages.rank(language, query),
      }));
      return { heading, choices };
    });
    return [{ heading: '', choices: special }, ...named]
      .map(({ heading, choices }) => ({
        heading,
        choices: choices.filter(({ rank }) => rank < Infinity).sort((a, b) => a.rank - b.rank),
      }))
      .filter(({ choices }) => choices.length);
  }

  #show() {
    const { languages, extra = [], note, compact } = this.#options;
    const language = languages.get(this.#value);
    const special = extra.find(([value]) => value === this.#value);
    this.#button.value = this.#value;
    if (language && !special) {
      const gloss = compact ? '' : languages.gloss(language);
      this.#shown.replaceChildren(h('bdi', { lang: language.code }, languages.short(language)), gloss && ` — ${gloss}`);
    } else {
      setText(this.#shown, special?.[1] ?? '');
    }
    const text = compact ? '' : (note?.(this.#value) ?? '');
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
      ['Only typed words are translated', (l) => l.text],
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
