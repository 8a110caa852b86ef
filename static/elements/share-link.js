import { freshId, h, icon } from '../ui/dom.js';
import { toast } from '../ui/toast.js';

/** The link to this room, to copy or to hand to the phone's share sheet. */
export class ShareLink extends HTMLElement {
  #url;
  #input;

  /** @param {string} url @param {string} roomName */
  constructor(url, roomName) {
    super();
    this.#url = url;
    const id = freshId('share');
    this.#input = h('input', { id, type: 'text', readonly: true, value: url, focus: () => this.#input.select() });
    const copy = h(
      'button',
      {
        type: 'button',
        'data-testid': 'share-link',
        click: () => {
          void this.#copy();
        },
      },
      icon('copy'),
      'Copy',
    );
    this.append(
      h('label', { for: id }, 'Invite with this link'),
      h('div', { class: 'joined-field' }, this.#input, copy),
    );
    if ('share' in navigator) {
      const data = { title: roomName, text: `Join me in “${roomName}”: everybody hears their own language.`, url };
      this.lastElementChild?.append(
        h(
          'button',
          {
            type: 'button',
            'aria-label': 'Share',
            title: 'Share',
            click: () => {
              void navigator.share(data).catch(() => {});
            },
          },
          icon('share'),
        ),
      );
    }
  }

  async #copy() {
    try {
      await navigator.clipboard.writeText(this.#url);
      toast('Link copied.');
    } catch {
      // No clipboard outside secure pages: select it, the person copies by hand.
      this.#input.focus();
      this.#input.select();
      toast('Press Ctrl+C or ⌘C to copy the link.');
    }
  }
}

customElements.define('share-link', ShareLink);
