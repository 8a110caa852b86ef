import { transcriptUrl } from '../api.js';
import { h, icon } from '../ui/dom.js';

const FORMATS = /** @type {const} */ ([
  ['txt', 'Text', 'to read'],
  ['vtt', 'WebVTT', 'subtitles'],
  ['json', 'JSON', 'for programs'],
]);

/** Links to the transcript, in the language that one hears. */
export class TranscriptMenu extends HTMLElement {
  /** @param {string} roomId @param {() => string} language */
  constructor(roomId, language) {
    super();
    const links = FORMATS.map(([format, name, use]) => {
      const link = h(
        'a',
        { download: true, href: transcriptUrl(roomId, language(), format) },
        h('strong', {}, name),
        ` ${use}`,
      );
      // The language may have changed since.
      link.addEventListener('pointerdown', () => {
        link.href = transcriptUrl(roomId, language(), format);
      });
      link.addEventListener('focus', () => {
        link.href = transcriptUrl(roomId, language(), format);
      });
      return link;
    });
    this.append(
      h(
        'details',
        { class: 'menu', 'data-testid': 'transcript-menu' },
        h('summary', {}, icon('download'), h('span', {}, 'Transcript')),
        h('div', { class: 'menu-items' }, ...links),
      ),
    );
    this.addEventListener('keydown', (event) => {
      if (event.key === 'Escape') this.close();
    });
    this.addEventListener('focusout', (event) => {
      if (event.relatedTarget && !this.contains(/** @type {Node} */ (event.relatedTarget))) this.close();
    });
    this.addEventListener('click', (event) => {
      if (event.target instanceof HTMLAnchorElement) this.close();
    });
  }

  close() {
    /** @type {HTMLDetailsElement} */ (this.firstElementChild).open = false;
  }
}

customElements.define('transcript-menu', TranscriptMenu);
