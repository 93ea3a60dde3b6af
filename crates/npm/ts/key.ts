// Any text as a segment of an address, and back.

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
  new TextEncoder().encode(text).forEach((byte, at) => {
    const plain = (byte >= 0x61 && byte <= 0x7a) || (byte >= 0x30 && byte <= 0x39) || (byte === 0x2d && at > 0);
    segment += plain ? String.fromCharCode(byte) : `_${byte.toString(16).padStart(2, "0")}`;
  });
  if (segment === "") throw malformed("an empty text has no key: give at least one character");
  if (segment.length > MOST) {
    throw malformed(
      `the key of this text has ${segment.length} bytes, a segment has at most ${MOST}: use a shorter text, or its digest`,
    );
  }
  return segment;
}

/** The text that {@link key} was given. Throws `malformed` for what `key` would not make: one text, one address. */
export function unkey(segment: string): string {
  const bytes: number[] = [];
  for (let at = 0; at < segment.length; at += 1) {
    if (segment[at] === "_") {
      bytes.push(Number.parseInt(segment.slice(at + 1, at + 3), 16));
      at += 2;
    } else {
      bytes.push(segment.charCodeAt(at));
    }
  }
  const text = new TextDecoder().decode(Uint8Array.from(bytes));
  let again: string | undefined;
  try {
    again = key(text);
  } catch {
    // Not a key either.
  }
  if (again !== segment) {
    throw malformed(`\`${segment.slice(0, 80)}\` is not a key: \`_\` must be followed by two hex digits of a byte, and the bytes be UTF-8`);
  }
  return text;
}
