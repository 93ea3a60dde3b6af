// What only users of streams need. It is loaded when it is first needed, see `load.ts`.

export { fetch } from "./fetch.js";
export { IncomingMessage } from "./incoming.js";
export { payloadOf } from "./response.js";
