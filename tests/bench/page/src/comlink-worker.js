// A guest behind Comlink.
import { expose } from "comlink";
import { Guest } from "./guest.js";

let guest;

expose({
  async start(module) {
    guest = await Guest.create(module);
  },
  echo: (bytes) => guest.echo(bytes),
});
