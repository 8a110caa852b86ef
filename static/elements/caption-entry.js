import { h } from '../ui/dom.js';
import { avatar, paint } from '../ui/people.js';
import { replayButton } from '../ui/replay.js';

/** @typedef {import('../call/captions.js').Caption} Caption */
/** @typedef {import('../call/captions.js').Words} Words */

const CLOCK = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit' });

/** One turn of one person: what was said in my language, and small beneath it in theirs. */
export class CaptionEntry extends HTMLElement {
  #said = h('p', { class: 'said', dir: 'auto' });
  #original = h('p', { class: 'original', dir: 'auto', hidden: true });
  #replay;

  /** @param {Caption} caption @param {{id: string, name: string}} person @param {() => string} language mine */
  constructor(caption, person, language) {
    super();
    this.dataset.testid = 'caption';
    this.dataset.utteranceId = caption.utteranceId;
    this.dataset.participantId = caption.participantId;
    paint(this, caption.participantId);
    this.#replay = replayButton(caption.utteranceId, language, `Hear again what ${person.name} said`);
    this.#replay.hidden = true;
    this.append(
      avatar(person),
      h(
        'div',
        { class: 'turn' },
        h(
          'p',
          { class: 'speaker' },
          h('strong', {}, person.name),
          h('time', { datetime: caption.at.toISOString() }, CLOCK.format(caption.at)),
          this.#replay,
        ),
        this.#said,
        this.#original,
      ),
    );
  }

  /** @param {Caption} caption @param {boolean} replayable */
  show(caption, replayable) {
    const segments = [...caption.segments.values()];
    const originals = parts(segments, 'original');
    const translations = parts(segments, 'translated');
    this.hidden = !originals.length && !translations.length;
    // Until the first translated word comes the original has the large line; then it moves beneath.
    fill(this.#said, translations.length ? translations : originals);
    // A translation that is streamed has segments of its own, with no original in them.
    const differs =
      originals.length > 0 &&
      segments.some(({ original, translated }) => translated?.text && original?.text !== translated.text);
    fill(this.#original, differs ? originals : []);
    this.#original.hidden = !differs;
    this.#replay.hidden = !replayable || !segments.some(({ original, translated }) => (translated ?? original)?.final);
  }
}

/** @typedef {{id: string, words: Words, translated: boolean, spoken: boolean}} Part */

/** @param {import('../call/captions.js').Segment[]} segments @param {'original' | 'translated'} side @returns {Part[]} */
function parts(segments, side) {
  return segments.flatMap((segment) => {
    const words = segment[side];
    const translated = side === 'translated';
    return words?.text ? [{ id: segment.id, words, translated, spoken: translated && segment.spoken }] : [];
  });
}

/** Makes a line's spans match its parts, touching only what changed. @param {HTMLElement} line @param {Part[]} wanted */
function fill(line, wanted) {
  while (line.childElementCount > wanted.length) line.lastElementChild?.remove();
  wanted.forEach(({ id, words, translated, spoken }, i) => {
    let span = /** @type {HTMLElement | undefined} */ (line.children[i]);
    if (!span) {
      span = h('span');
      if (i) line.append(' ');
      line.append(span);
    }
    span.dataset.segmentId = id;
    span.dataset.kind = words.final ? 'final' : 'interim';
    span.dataset.translated = String(translated);
    span.classList.toggle('is-spoken', spoken);
    span.lang = words.language;
    write(span, words);
  });
}

/** The words, and in a span of their own those that stay. @param {HTMLElement} span @param {Words} words */
function write(span, { text, committed }) {
  const settled = [...text].slice(0, committed).join('');
  if (span.textContent === text && (span.firstElementChild?.textContent ?? '') === settled) return;
  span.replaceChildren(...(settled ? [h('span', { class: 'settled' }, settled)] : []), text.slice(settled.length));
}

customElements.define('caption-entry', CaptionEntry);
