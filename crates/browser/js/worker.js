// The entry of a worker that runs guests. It does what the page's thread tells it, in order:
//
//   to the worker    { start: { instance: number, module: WebAssembly.Module, limits, contract } }
//                    { stop: number }                           drops the instance
//                    ArrayBuffer                                runs: (instance:u64 length:u32 calls)*
//   from the worker  { begun: number }                          the instance's own code runs from here on
//                    { started: number } | { failed: number, reason: string }
//                    { checking: number }                       so many bytes of bodies are now checked
//                    ArrayBuffer                                used:u32 (instance:u64 length:u32 report)*
//
// Numbers in buffers are little-endian; calls and reports are those of `starlane_host::batch`. One buffer carries as much as
// waits, in both directions, and is transferred, not copied.

import { createInstance, Reports } from "./glue.js";

/** A report does not wait longer than this for those behind it, in milliseconds. */
const PATIENCE = 2;

const guests = new Map();
/** Instances that are being made. One that is stopped meanwhile leaves. */
const beginning = new Set();
const reports = new Reports();

async function startGuest({ instance, module, limits, contract }) {
  beginning.add(instance);
  try {
    const guest = await createInstance(module, limits, contract, {
      begun: () => postMessage({ begun: instance }),
      checking: (bytes) => postMessage({ checking: bytes }),
    });
    if (beginning.has(instance)) guests.set(instance, guest);
    postMessage({ started: instance });
  } catch (error) {
    postMessage({ failed: instance, reason: String(error?.message ?? error) });
  }
  beginning.delete(instance);
}

function runAll(buffer) {
  const bytes = new Uint8Array(buffer);
  const words = new DataView(buffer);
  let since = performance.now();
  for (let at = 0; at < bytes.length; ) {
    const low = words.getUint32(at, true);
    const high = words.getUint32(at + 4, true);
    const end = at + 12 + words.getUint32(at + 8, true);
    reports.run(guests.get(high * 4294967296 + low), low, high, bytes.subarray(at + 12, end));
    at = end;
    if (at === bytes.length || performance.now() - since > PATIENCE) {
      const done = reports.take();
      postMessage(done, [done]);
      since = performance.now();
    }
  }
}

onmessage = ({ data }) => {
  if (data instanceof ArrayBuffer) {
    runAll(data);
  } else if (data.start) {
    startGuest(data.start);
  } else {
    guests.delete(data.stop);
    beginning.delete(data.stop);
  }
};
