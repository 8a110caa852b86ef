/** @typedef {import('../call/protocol.js').Language} Language */

/** The languages of the engine in use, and what there is to say about each. */
export class Languages {
  #byCode;

  /** @param {Language[]} list */
  constructor(list) {
    this.list = [...list].sort((a, b) => a.english.localeCompare(b.english, 'en'));
    this.#byCode = new Map(list.map((language) => [language.code, language]));
  }

  /** Languages whose speech the engine understands. */
  get understood() {
    return this.list.filter(({ speech_in }) => speech_in);
  }

  /** @param {string} code */
  get(code) {
    return this.#byCode.get(code);
  }

  /** @param {string | null | undefined} code @returns {string} English name, or the code itself */
  english(code) {
    if (code === 'auto') return 'any language';
    return this.#byCode.get(code ?? '')?.english ?? code ?? '';
  }

  /** @param {Language} language @returns {string} in the language itself */
  short(language) {
    return capitalised(language.name);
  }

  /** @param {Language} language @returns {string} as a picker shows it */
  label(language) {
    const same = language.name.toLocaleLowerCase() === language.english.toLocaleLowerCase();
    return same ? capitalised(language.name) : `${capitalised(language.name)} — ${language.english}`;
  }

  /** Languages in between on the way from what the engine hears; empty if some way is direct. @param {Language} language */
  via(language) {
    const ways = this.understood.flatMap(({ code }) =>
      code !== language.code && language.from[code] ? [language.from[code]] : [],
    );
    return ways.some((way) => way.length === 0) ? [] : (ways[0] ?? []);
  }

  /** What one gets who wants to hear this language. @param {string} code @returns {string} a sentence */
  hearingNote(code) {
    const language = this.get(code);
    if (!language) return '';
    const via = this.via(language);
    const way = via.length ? `, by way of ${via.map((step) => this.english(step)).join(' and ')}` : '';
    const others = this.understood.filter((source) => source.code !== code);
    if (!others.length)
      return `The interpreter understands no other speech, so only typed words are put into ${language.english}.`;
    if (others.every((source) => !language.from[source.code])) {
      return `Spoken ${list(others.map(({ english }) => english))} cannot be put into ${language.english} here.`;
    }
    return language.speech_out
      ? `Interpreted aloud, with captions${way}.`
      : `Captions only: ${language.english} has no voice here${way}.`;
  }

  /** What happens to the words of one who speaks this language. @param {string} code @returns {string} a sentence */
  speakingNote(code) {
    const language = this.get(code);
    if (code === 'auto') return 'The interpreter works out the language by listening.';
    if (!language || language.speech_in) return '';
    const understood = this.understood.map(({ english }) => english);
    const limit =
      understood.length > 4
        ? `does not understand spoken ${language.english}`
        : `understands spoken ${list(understood)} only`;
    return `The interpreter ${limit}. Others will hear your own voice, and what you type is translated.`;
  }

  /** The best language for this browser. @returns {string} a code */
  preferred() {
    const wanted = navigator.languages.map((tag) => tag.split('-')[0]);
    const found = [...navigator.languages, ...wanted].find((tag) => this.get(tag ?? ''));
    return found ?? this.list.find(({ speech_out }) => speech_out)?.code ?? this.list[0]?.code ?? 'en';
  }

  /** @param {Language} language @param {string} query */
  matches(language, query) {
    const needle = plain(query);
    return [language.name, language.english, language.code].some((text) => plain(text).includes(needle));
  }
}

/** @param {string} text @returns {string} lower case, no accents */
function plain(text) {
  return text.normalize('NFD').replace(/\p{M}/gu, '').toLowerCase().trim();
}

/** @param {string} text */
function capitalised(text) {
  return text.slice(0, 1).toLocaleUpperCase() + text.slice(1);
}

/** @param {string[]} items */
function list(items) {
  return new Intl.ListFormat('en').format(items);
}
