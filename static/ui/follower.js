import { h, icon } from './dom.js';

const NEAR_PX = 80;

/** Keeps a scrolling list at its end while new entries come, unless somebody has scrolled up to read. */
export class Follower {
  #scroller;
  #following = true;
  button;

  /** @param {HTMLElement} scroller @param {string} label of the button that leads back to the end */
  constructor(scroller, label) {
    this.#scroller = scroller;
    this.button = h(
      'button',
      { type: 'button', class: 'to-latest', hidden: true, click: () => this.#jump() },
      icon('down'),
      label,
    );
    scroller.addEventListener(
      'scroll',
      () => {
        this.#following = scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < NEAR_PX;
        if (this.#following) this.button.hidden = true;
      },
      { passive: true },
    );
    new ResizeObserver(() => this.follow()).observe(scroller);
  }

  /** Call it after something was added. */
  follow() {
    if (this.#following) this.#scroller.scrollTop = this.#scroller.scrollHeight;
    else this.button.hidden = false;
  }

  #jump() {
    this.#following = true;
    this.button.hidden = true;
    this.#scroller.scrollTop = this.#scroller.scrollHeight;
    this.#scroller.focus();
  }
}
