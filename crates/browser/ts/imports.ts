// The functions that a guest imports. Each checks all its arguments: the caller is hostile, and can run out of stack here.

import { Batch, CALL_MESSAGES, type Import } from "./abi.js";
import { lastKey, report64, takeRandom } from "./buffers.js";
import { GuestFault } from "./fault.js";
import { type Guest, checkWhole } from "./guest.js";
import { checkText, liftBytes, liftError, liftFailure, liftPayload, liftText, unsigned } from "./lift.js";
import { within } from "./memory.js";

/** Makes the functions that a guest imports. */
export function imports(guest: Guest): Record<Import, WebAssembly.ImportValue> {
  const { buffers } = guest;
  return {
    request(
      t: number, tn: number, o: number, on: number, a: number, an: number, h: number, hn: number, b: number, bn: number,
      stream: bigint, timeout: number,
    ): bigint {
      queue(guest, "request", Batch.REQUEST);
      const id = ++guest.lastRequest;
      buffers.output.id(id);
      liftText(guest, "the target", t, tn);
      liftText(guest, "the operation", o, on);
      liftPayload(guest, a, an, h, hn, b, bn, stream);
      buffers.output.u32(timeout);
      end(guest);
      return BigInt(id);
    },
    notify(
      t: number, tn: number, o: number, on: number, a: number, an: number, h: number, hn: number, b: number, bn: number,
      stream: bigint,
    ): void {
      queue(guest, "notify", Batch.NOTIFY);
      liftText(guest, "the target", t, tn);
      liftText(guest, "the operation", o, on);
      liftPayload(guest, a, an, h, hn, b, bn, stream);
      end(guest);
    },
    reply(id: bigint, which: number, a: number, b: number, c: number, d: number, e: number, f: number, stream: bigint): void {
      queue(guest, "reply", Batch.REPLY);
      report64(buffers, id);
      const finished = lastKey(buffers);
      if (which === Batch.SUCCESS) {
        buffers.output.u8(Batch.SUCCESS);
        liftPayload(guest, a, b, c, d, e, f, stream);
      } else if (which === Batch.FAILURE) {
        buffers.output.u8(Batch.FAILURE);
        liftFailure(guest, a, b, c, d, e);
      } else {
        throw new GuestFault(`an outcome has no case ${which}`);
      }
      guest.unfinished.delete(finished);
      end(guest);
    },
    emit(e: number, en: number, a: number, an: number, h: number, hn: number, b: number, bn: number, stream: bigint): void {
      queue(guest, "emit", Batch.EMIT);
      if (stream !== 0n) throw new GuestFault("an event cannot carry a stream");
      liftText(guest, "the event", e, en);
      liftPayload(guest, a, an, h, hn, b, bn, stream);
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
    "wake-at"(time: bigint, token: bigint): void {
      queue(guest, "wake-at", Batch.WAKE_AT);
      report64(buffers, time);
      report64(buffers, token);
      end(guest);
    },
    "open-stream"(): bigint {
      queue(guest, "open-stream", Batch.OPEN_STREAM);
      const stream = guest.streams.open();
      report64(buffers, stream);
      end(guest);
      return stream;
    },
    write(stream: bigint, at: number, length: number): number {
      begin(guest, "write");
      checkMesh(guest);
      stream = unsigned(stream);
      const left = guest.streams.spend(stream, length >>> 0);
      if (left !== undefined && length !== 0) {
        add(guest, Batch.WRITE);
        report64(buffers, stream);
        liftBytes(guest, "the bytes", at, length);
      }
      end(guest);
      return left ?? 0;
    },
    finish(stream: bigint, which: number, a: number, b: number, c: number, d: number, e: number): void {
      begin(guest, "finish");
      checkMesh(guest);
      stream = unsigned(stream);
      if (guest.streams.finish(stream)) {
        add(guest, Batch.FINISH);
        report64(buffers, stream);
        liftError(guest, which, a, b, c, d, e);
      }
      end(guest);
    },
    grant(stream: bigint, bytes: number): void {
      begin(guest, "grant");
      checkMesh(guest);
      stream = unsigned(stream);
      if (bytes !== 0 && guest.streams.isRead(stream)) {
        add(guest, Batch.GRANT);
        report64(buffers, stream);
        buffers.output.u32(bytes);
      }
      end(guest);
    },
    "cancel-stream"(stream: bigint): void {
      begin(guest, "cancel-stream");
      checkMesh(guest);
      stream = unsigned(stream);
      if (guest.streams.cancel(stream)) {
        add(guest, Batch.CANCEL_STREAM);
        report64(buffers, stream);
      }
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
  checkMesh(guest);
  add(guest, tag);
}

function checkMesh(guest: Guest): void {
  if (guest.open) return;
  throw new GuestFault("called before `start` or in the allocator: then only `log`, `now-ms` and `random` may be");
}

/** Begins the record of a message. */
function add(guest: Guest, tag: number): void {
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
