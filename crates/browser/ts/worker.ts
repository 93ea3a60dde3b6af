// The entry point of a worker that runs guests. `messages.ts` has its messages.

import { Buffers } from "./buffers.js";
import type { Guest } from "./guest.js";
import { createInstance } from "./instance.js";
import type { Check, Checked, FromWorker, Start, ToWorker } from "./messages.js";
import { instantiate, refusal } from "./meter.js";
import { beginReports, report, takeReports } from "./reports.js";

/** The maximum time that a report waits for later ones. */
const MAX_REPORT_DELAY_MS = 2;

function say(message: FromWorker | Checked | "begun", transfer: Transferable[] = []): void {
  postMessage(message, transfer);
}

function checkModule(check: Check): void {
  // Loading, which ends here, has a time limit of its own.
  const meter = instantiate(check);
  say("begun");
  const { wasm } = check;
  const refused = refusal(meter, check);
  if (refused === undefined) say({ wasm }, [wasm]);
  else say({ refused });
}

/** Handles the messages of the page. */
function serve(): void {
  const buffers = new Buffers();
  const guests = new Map<number, Guest>();
  /** Instances that are being made. Stopping one removes it. */
  const beginning = new Set<number>();

  async function startGuest(plan: Start): Promise<void> {
    const { instance } = plan;
    beginning.add(instance);
    try {
      const guest = await createInstance(buffers, plan, {
        begun: () => say({ begun: instance }),
        checking: (bytes) => say({ checking: bytes }),
      });
      if (beginning.has(instance)) guests.set(instance, guest);
      say({ started: instance });
    } catch (error) {
      say({ failed: instance, reason: String((error as Partial<Error> | null | undefined)?.message ?? error) });
    }
    beginning.delete(instance);
  }

  function runAll(buffer: ArrayBuffer): void {
    const bytes = new Uint8Array(buffer);
    const words = new DataView(buffer);
    let since = performance.now();
    for (let at = 0; at < bytes.length; ) {
      const low = words.getUint32(at, true);
      const high = words.getUint32(at + 4, true);
      const end = at + 12 + words.getUint32(at + 8, true);
      report(buffers, guests.get(high * 4294967296 + low), low, high, bytes.subarray(at + 12, end));
      at = end;
      if (at === bytes.length || performance.now() - since > MAX_REPORT_DELAY_MS) {
        const reports = takeReports(buffers);
        say(reports, [reports]);
        since = performance.now();
      }
    }
  }

  beginReports(buffers);
  onmessage = ({ data }: MessageEvent<ToWorker>) => {
    if (data instanceof ArrayBuffer) {
      runAll(data);
    } else if ("start" in data) {
      void startGuest(data.start);
    } else if ("check" in data) {
      checkModule(data.check);
    } else {
      guests.delete(data.stop);
      beginning.delete(data.stop);
    }
  };
}

serve();
