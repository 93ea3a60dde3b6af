// The functions that a guest imports. Each checks all its arguments: the caller is hostile, and can run out of stack here.

import { Batch, CALL_MESSAGES, type Import } from "./abi.js";
import { lastKey, report64, takeRandom } from "./buffers.js";
import { GuestFault } from "./fault.js";
import { type Guest, checkWhole } from "./guest.js";
import { checkText, liftPayload, liftText } from "./lift.js";
import { within } from "./memory.js";

/** Makes the functions that a guest imports. */
export function imports(guest: Guest): Record<Import, WebAssembly.ImportValue> {
  const { buffers } = guest;
  return {
    request(
      t: number, tn: number, o: number, on: number, a: number, an: number, h: number, hn: number, b: number, bn: number,
      timeout: number,
    ): bigint {
      queue(guest, "request", Batch.REQUEST);
      const id = ++guest.lastRequest;
      buffers.output.u32(id % 4294967296);
      buffers.output.u32(id / 4294967296);
      liftText(guest, "the target", t, tn);
      liftText(guest, "the operation", o, on);
      liftPayload(guest, a, an, h, hn, b, bn);
      buffers.output.u32(timeout);
      end(guest);
      return BigInt(id);
    },
    notify(
      t: number, tn: number, o: number, on: number, a: number, an: number, h: number, hn: number, b: number, bn: number,
    ): void {
      queue(guest, "notify", Batch.NOTIFY);
      liftText(guest, "the target", t, tn);
      liftText(guest, "the operation", o, on);
      liftPayload(guest, a, an, h, hn, b, bn);
      end(guest);
    },
    reply(id: bigint, which: number, a: number, b: number, c: number, d: number, e: number, f: number): void {
      queue(guest, "reply", Batch.REPLY);
      report64(buffers, id);
      const finished = lastKey(buffers);
      if (which === Batch.SUCCESS) {
        buffers.output.u8(Batch.SUCCESS);
        liftPayload(guest, a, b, c, d, e, f);
      } else if (which === Batch.FAILURE) {
        buffers.output.u8(Batch.FAILURE);
        buffers.output.u8(a);
        buffers.output.u8(a >>> 8);
        liftText(guest, "the code of a failure", b, c);
        liftText(guest, "the message of a failure", d, e);
      } else {
        throw new GuestFault(`an outcome has no case ${which}`);
      }
      guest.unfinished.delete(finished);
      end(guest);
    },
    emit(e: number, en: number, a: number, an: number, h: number, hn: number, b: number, bn: number): void {
      queue(guest, "emit", Batch.EMIT);
      liftText(guest, "the event", e, en);
      liftPayload(guest, a, an, h, hn, b, bn);
      end(guest);
    },
    subscribe(t: number, tn: number): void {
      queue(guest, "subscribe", Batch.SUBSCRIBE);
      liftText(guest, "the topic", t, tn);
      end(guest);
    },
    unsubscribe(t: number, tn: number): void {
      queue(guest, "unsubscribe", Batch.UNSUBSCRIBE);
      liftText(guest, "the topic", t, tn);
      end(guest);
    },
    "wake-after"(delay: number, token: bigint): void {
      queue(guest, "wake-after", Batch.WAKE_AFTER);
      buffers.output.u32(delay);
      report64(buffers, token);
      end(guest);
    },
    log(level: number, at: number, length: number): void {
      log(guest, level, at >>> 0, length >>> 0);
    },
    "now-ms"(): bigint {
      return BigInt(Date.now());
    },
    random(): bigint {
      return takeRandom(buffers);
    },
  };
}

/** Begins an import. Until `end` the call counts as broken, because the stack may overflow at any point. */
function begin(guest: Guest, name: Import): void {
  checkWhole(guest);
  guest.importing = name;
}

/** Begins an import that queues a message. */
function queue(guest: Guest, name: Import, tag: number): void {
  begin(guest, name);
  if (!guest.open) {
    throw new GuestFault("called before `start` or in the allocator: then only `log`, `now-ms` and `random` may be");
  }
  if (++guest.messages > CALL_MESSAGES) throw new GuestFault(`one call can queue at most ${CALL_MESSAGES} messages`);
  guest.buffers.output.u8(tag);
}

function end(guest: Guest): void {
  guest.importing = undefined;
}

/** Logs a line, cut to the bytes that the call may still log. */
function log(guest: Guest, level: number, at: number, length: number): void {
  begin(guest, "log");
  const bytes = within(guest, "the text", at, length);
  if (level >>> 0 > Batch.ERROR) throw new GuestFault(`a level has no case ${level}`);
  let to = at + length;
  if (length > guest.logRoom) {
    to = at + guest.logRoom;
    // Does not cut inside a character.
    while (to > at && (bytes[to]! & 0xc0) === 0x80) to--;
  }
  checkText("the text", bytes, at, to);
  if (guest.logRoom > 0) {
    // An empty line counts as one byte. Otherwise a loop could fill the memory with empty lines.
    guest.logRoom = Math.max(0, guest.logRoom - (to - at) - 1);
    guest.logs.u8(Batch.LOG);
    guest.logs.u8(level);
    guest.logs.slice(bytes, at, to);
  }
  end(guest);
}
