// Any text as a segment of an address, and back.

import { text as checked } from "./check.js";
import { malformed } from "./errors.js";

/** The maximum length of a segment of an address. */
const MAX_SEGMENT_BYTES = 63;

/**
 * Encodes any text as a segment of an address. The bytes a-z and 0-9, and `-` after the first byte, stay; every other byte
 * becomes `_` and two hex digits.
 * `host.request(\`acme:profiles:profile:${key(name)}\`, …)`
 *
 * Throws `malformed` if the text is empty, or its key longer than 63 bytes.
 */
export function key(text: string): string {
  let segment = "";
  // Each character takes at least one byte, so a longer text is too long in any case.
  new TextEncoder().encode(checked("text", text).slice(0, MAX_SEGMENT_BYTES + 1)).forEach((byte, at) => {
    const plain = (byte >= 0x61 && byte <= 0x7a) || (byte >= 0x30 && byte <= 0x39) || (byte === 0x2d && at > 0);
    segment += plain ? String.fromCharCode(byte) : `_${byte.toString(16).padStart(2, "0")}`;
  });
  if (segment === "") throw malformed("an empty text has no key: give at least one character");
  if (segment.length > MAX_SEGMENT_BYTES) {
    throw malformed(`the key of this text is longer than ${MAX_SEGMENT_BYTES} bytes, the maximum of a segment: use a shorter text, or its digest`);
  }
  return segment;
}

/** Decodes a segment that {@link key} made. Throws `malformed` for any other segment, so that each text has one address. */
export function unkey(segment: string): string {
  const bytes: number[] = [];
  const { length } = checked("segment", segment);
  for (let at = 0; at < length && length <= MAX_SEGMENT_BYTES; at += 1) {
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
    // Invalid UTF-8 is not a key either.
  }
  throw malformed(`\`${segment.slice(0, 80)}\` is not a key: \`_\` must be followed by two hex digits of a byte, and the bytes be UTF-8`);
}
