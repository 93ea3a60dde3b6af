// A message as a handler of streams gets it.

import type { RawPayload } from "./wasm/starlane_npm.js";
import { StarlaneError } from "./errors.js";
import { received } from "./response.js";
import { readable, stopping, streamed } from "./stream.js";
import type { StreamRequest } from "./types.js";

/** A message whose body may be a stream, and is read like that of a `Request`. */
export class IncomingMessage implements StreamRequest {
  readonly operation: string;
  readonly headers: Headers;
  readonly contentType: string;
  readonly #ended = new AbortController();
  /** Its methods read bodies; a `Request` with a stream cannot be made in all browsers. */
  readonly #reading: Response;

  /** Throws `malformed`, and stops the stream, if the headers cannot be read. */
  constructor(operation: string, { contentType, headers, body, stream }: RawPayload, address: string) {
    try {
      this.operation = operation;
      this.contentType = contentType;
      this.headers = received(headers, address);
      if (contentType) this.headers.set("content-type", contentType);
    } catch (error) {
      stream?.stop(stopping(error));
      stream?.free();
      throw error;
    }
    const init: ResponseInit = contentType ? { headers: { "content-type": contentType } } : {};
    if (stream) this.#reading = streamed(readable(stream, this.#ended.signal), init);
    else this.#reading = new Response(body.length > 0 ? (body as Uint8Array<ArrayBuffer>) : null, init);
  }

  get body(): ReadableStream<Uint8Array<ArrayBuffer>> | null {
    return this.#reading.body;
  }

  get bodyUsed(): boolean {
    return this.#reading.bodyUsed;
  }

  arrayBuffer(): Promise<ArrayBuffer> {
    return this.#reading.arrayBuffer();
  }

  blob(): Promise<Blob> {
    return this.#reading.blob();
  }

  formData(): Promise<FormData> {
    return this.#reading.formData();
  }

  json(): Promise<any> {
    return this.#reading.json();
  }

  text(): Promise<string> {
    return this.#reading.text();
  }

  /** The reply is made: stops the stream if nobody has begun to read it. */
  replied(): void {
    const { body, bodyUsed } = this.#reading;
    if (!body || bodyUsed || body.locked) return;
    this.failed(new StarlaneError("cancelled", 499, `the handler of \`${this.operation}\` returned without reading the body`));
  }

  /** The handler has failed: stops the stream. Whoever still reads it gets the failure. */
  failed(failure: unknown): void {
    this.#ended.abort(failure);
  }
}
