// A guest behind plain postMessage: `[id, bytes, whether to transfer]` in, `[id, bytes]` out.
import { Guest } from "./guest.js";

let guest;
/** All instances, which are kept. The last one answers. */
const guests = [];

addEventListener("message", async ({ data }) => {
  if (data instanceof WebAssembly.Module) {
    guest = await Guest.create(data);
    guests.push(guest);
    postMessage("ready");
    return;
  }
  const [id, bytes, transfer] = data;
  const reply = guest.echo(bytes);
  postMessage([id, reply], transfer ? [reply.buffer] : []);
});
