/** @typedef {import('../call/protocol.js').Language} Language */

/** The languages of the engine in use, and what there is to say about each. */
export class Languages {
  #byCode;
  /** @type {Map<string, string>} code → name in the browser's language: people search for that too */
  #local;

  /** @param {Language[]} list */
  constructor(list) {
    this.list = [...list].sort((a, b) => a.english.localeCompare(b.english, 'en'));
    this.#byCode = new Map(list.map((language) => [language.code, language]));
    const names = new Intl.DisplayNames(navigator.languages.filter(isTag), { type: 'language' });
    this.#local = new Map(list.map(({ code }) => [code, names.of(code) ?? '']));
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

  /** @param {Language} language @returns {string} in the language itself, as it stands at a line's beginning */
  short(language) {
    // Elsewhere capitals do not exist, or (in Georgian) never begin a word.
    if (!/^[\p{Script=Latin}\p{Script=Cyrillic}\p{Script=Greek}\p{Script=Armenian}]/u.test(language.name)) {
      return language.name;
    }
    return language.name.slice(0, 1).toLocaleUpperCase(language.code) + language.name.slice(1);
  }

  /** @param {Language} language @returns {string} its English name, empty where that is its own */
  gloss({ name, english }) {
    return name.toLocaleLowerCase() === english.toLocaleLowerCase() ? '' : english;
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
    const found = navigator.languages.flatMap(tagsFor).find((tag) => this.get(tag));
    const fallback = this.get('en') ?? this.list.find(({ speech_out }) => speech_out) ?? this.list[0];
    return found ?? fallback?.code ?? 'en';
  }

  /** How well a language answers a search by any of its names, or its code. @param {Language} language
   * @param {string} query @returns {number} 0 is best; Infinity: not at all */
  rank({ code, name, english }, query) {
    return this.rankOf([code, name, english, this.#local.get(code) ?? ''], query);
  }

  /** @param {string[]} texts @param {string} query @returns {number} */
  rankOf(texts, query) {
    const needle = plain(query);
    if (!needle) return 0;
    const ranks = texts.map(plain).map((text) => {
      if (text === needle) return 0;
      if (text.startsWith(needle)) return 1;
      if (text.includes(` ${needle}`)) return 2;
      return text.includes(needle) ? 3 : Infinity;
    });
    return Math.min(...ranks);
  }
}

/** Browsers hand on whatever their system is set to. @param {string} tag */
const isTag = (tag) => tagsFor(tag).length > 0;

/** The tags by which an engine may know a browser's language: `zh-TW` as `zh-Hant`. @param {string} tag
 * @returns {string[]} best first */
function tagsFor(tag) {
  try {
    const { language, script } = new Intl.Locale(tag).maximize();
    return [tag, `${language}-${script}`, language === 'no' ? 'nb' : language];
  } catch {
    return []; // not a tag at all
  }
}

/** Letters that Unicode does not take apart into a plain one and a mark. */
const LETTERS = new Map(Object.entries({ ß: 'ss', æ: 'ae', œ: 'oe', ø: 'o', ł: 'l', đ: 'd', ð: 'd', ı: 'i', ə: 'e' }));

/** @param {string} text @returns {string} lower case, no accents, no punctuation */
function plain(text) {
  const bare = text.toLowerCase().normalize('NFD').replace(/[\p{M}'’‘ʻʼ]/gu, '');
  const letters = [...bare].map((letter) => LETTERS.get(letter) ?? letter).join('');
  return letters.replace(/[^\p{L}\p{N}]+/gu, ' ').trim();
}

/** @param {string[]} items */
function list(items) {
  return new Intl.ListFormat('en').format(items);
}
