/** @typedef {import('./protocol.js').ServerMessage} ServerMessage */

const OPEN_TIMEOUT_MS = 8_000;
const PING_EVERY_MS = 2_000;
const PINGS_UNANSWERED = 3;

/**
 * One WebSocket to the server. Its callbacks become one thing to loop over:
 *
 *     for await (const message of socket) { … }
 *
 * ends when the connection is gone, for whatever reason. Pings the server and closes itself when it stays silent:
 * browsers notice a dead network only after minutes.
 */
export class SignalSocket {
  #socket;
  /** @type {ServerMessage[]} */
  #inbox = [];
  #wake = () => {};
  #closed = false;
  #unanswered = 0;
  #timer = 0;

  /** @param {WebSocket} socket an open one */
  constructor(socket) {
    this.#socket = socket;
    socket.onmessage = (event) => this.#receive(JSON.parse(event.data));
    socket.onclose = () => this.#end();
    this.#timer = window.setInterval(() => this.#ping(), PING_EVERY_MS);
  }

  /** @param {string} url @returns {Promise<SignalSocket>} rejects if the server cannot be reached */
  static open(url) {
    return new Promise((resolve, reject) => {
      const socket = new WebSocket(url);
      const refuse = () => {
        socket.onopen = socket.onclose = null;
        socket.close();
        reject(new Error('the server cannot be reached'));
      };
      const timer = setTimeout(refuse, OPEN_TIMEOUT_MS);
      socket.onclose = () => {
        clearTimeout(timer);
        refuse();
      };
      socket.onopen = () => {
        clearTimeout(timer);
        resolve(new SignalSocket(socket));
      };
    });
  }

  /** @param {string} type @param {Record<string, unknown>} [fields] @returns {boolean} false: nobody was there to take it */
  send(type, fields = {}) {
    if (this.#socket.readyState !== WebSocket.OPEN) return false;
    this.#socket.send(JSON.stringify({ type, ...fields }));
    return true;
  }

  close() {
    this.#socket.close();
    this.#end();
  }

  async *[Symbol.asyncIterator]() {
    for (;;) {
      const message = this.#inbox.shift();
      if (message) yield message;
      else if (this.#closed) return;
      else
        await new Promise((resolve) => {
          this.#wake = () => resolve(undefined);
        });
    }
  }

  /** @param {ServerMessage} message */
  #receive(message) {
    this.#unanswered = 0;
    this.#inbox.push(message);
    this.#wake();
  }

  #ping() {
    if (this.#unanswered >= PINGS_UNANSWERED) {
      this.close();
      return;
    }
    this.#unanswered += 1;
    this.send('ping', { t: performance.now() });
  }

  #end() {
    clearInterval(this.#timer);
    this.#closed = true;
    this.#wake();
  }
}
