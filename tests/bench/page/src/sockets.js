// A WebSocket to the raw echo: each message comes back, in order.

export class RawSocket {
  #socket;
  #waiting = [];
  #at = 0;
  /** Called with each message. Without it, messages settle pending calls. */
  onMessage;

  static async open(address) {
    const raw = new RawSocket();
    const socket = new WebSocket(`ws://${address}/`);
    socket.binaryType = "arraybuffer";
    raw.#socket = socket;
    await new Promise((resolve, reject) => {
      socket.onopen = resolve;
      socket.onerror = () => reject(new Error(`no WebSocket to ${address}`));
    });
    socket.onmessage = ({ data }) => {
      const bytes = new Uint8Array(data);
      if (raw.onMessage) raw.onMessage(bytes);
      else raw.#settle(bytes);
    };
    return raw;
  }

  echo(bytes) {
    return new Promise((resolve) => {
      this.#waiting.push(resolve);
      this.#socket.send(bytes);
    });
  }

  send(bytes) {
    this.#socket.send(bytes);
  }

  close() {
    this.#socket.close();
  }

  /** A queue that does not move its items. */
  #settle(bytes) {
    this.#waiting[this.#at](bytes);
    this.#at += 1;
    if (this.#at > 1_024) {
      this.#waiting.splice(0, this.#at);
      this.#at = 0;
    }
  }
}
