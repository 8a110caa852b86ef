/** How long to wait before the next attempt: doubles from `first` to `last` seconds, with jitter so that a room full of
 * people does not come back in the same instant. The first is nearly none: most often all is well again by then. */
export class Backoff {
  #attempt = 0;
  #first;
  #last;
  #random;

  /** @param {{first?: number, last?: number, random?: () => number}} [options] */
  constructor({ first = 0.06, last = 4, random = Math.random } = {}) {
    this.#first = first;
    this.#last = last;
    this.#random = random;
  }

  get attempts() {
    return this.#attempt;
  }

  /** Seconds to wait now. */
  next() {
    const ceiling = Math.min(this.#last, this.#first * 2 ** this.#attempt);
    this.#attempt += 1;
    return ceiling * (0.5 + this.#random() / 2);
  }

  reset() {
    this.#attempt = 0;
  }
}
