// Any text as a segment of an address, and back.

import { text as checked } from "./check.js";
import { malformed } from "./errors.js";

/** The longest segment of an address, in bytes. */
const MOST = 63;

/**
 * Makes any text a segment of an address: every byte but a-z, 0-9 and, inside, `-` becomes `_` and its value in hex.
 * `host.request(\`acme:profiles:profile:${key(name)}\`, …)`
 *
 * Throws `malformed` when the text is empty or its key longer than 63 bytes.
 */
export function key(text: string): string {
  let segment = "";
  // More would be too long, however it is written.
  new TextEncoder().encode(checked("text", text).slice(0, MOST + 1)).forEach((byte, at) => {
    const plain = (byte >= 0x61 && byte <= 0x7a) || (byte >= 0x30 && byte <= 0x39) || (byte === 0x2d && at > 0);
    segment += plain ? String.fromCharCode(byte) : `_${byte.toString(16).padStart(2, "0")}`;
  });
  if (segment === "") throw malformed("an empty text has no key: give at least one character");
  if (segment.length > MOST) {
    throw malformed(`the key of this text is longer than ${MOST} bytes, the maximum of a segment: use a shorter text, or its digest`);
  }
  return segment;
}

/** The text that {@link key} was given. Throws `malformed` for what `key` would not make: one text, one address. */
export function unkey(segment: string): string {
  const bytes: number[] = [];
  const { length } = checked("segment", segment);
  for (let at = 0; at < length && length <= MOST; at += 1) {
    if (segment[at] === "_") {
      bytes.push(Number.parseInt(segment.slice(at + 1, at + 3), 16));
      at += 2;
    } else {
      bytes.push(segment.charCodeAt(at));
    }
  }
  let text: string | undefined;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(Uint8Array.from(bytes));
    if (key(text) === segment) return text;
  } catch {
    // Not a key either.
  }
  throw malformed(`\`${segment.slice(0, 80)}\` is not a key: \`_\` must be followed by two hex digits of a byte, and the bytes be UTF-8`);
}
