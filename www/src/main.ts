// The entry: opens the host, launches the app and puts the parts of the page together.

import { Host, key, type HostOptions } from "@starlane/mesh";
import worker from "@starlane/mesh/worker.js?url";
import { showAccount, token } from "./account";
import { Desk } from "./desk";
import { APP, Directory } from "./directory";
import { Editor } from "./editor";
import { Inspector } from "./inspector";
import { showLink } from "./link";
import { keepThePage } from "./offline";
import { People } from "./people";
import { Preview } from "./preview";
import { problem, showTheUncaught, solved } from "./problems";
import { SAMPLES } from "./samples";

const LISTING = "Listing the people";

declare global {
  interface Window {
    /**
     * For tests and experiments: the host, its options, the milliseconds until a mechtron here answered, and the number of files that
     * are cached for times when the server is away.
     */
    starlaneDemo?: { host: Host; options: HostOptions; ready: Promise<number>; kept: Promise<number> };
  }
}

async function start(): Promise<void> {
  // The page's policy requires Trusted Types, so the page must name the worker itself.
  const options = { server: server(), cache: "profiles", worker, token };
  const host = await Host.open(options);
  let answered: (milliseconds: number) => void = () => {};
  const ready = new Promise<number>((resolve) => (answered = resolve));
  const kept = ready.then(keepThePage);
  kept.catch((error: unknown) => problem("Keeping this page", error));
  window.starlaneDemo = { host, options, ready, kept };

  host.on("degraded", (reason) => problem("Keeping bundles for later", `This browser stores nothing: ${reason}`));
  showAccount(host);
  const inspector = new Inspector(host);
  const preview = new Preview(host, () => {
    answered(performance.now());
    inspector.refresh();
  });
  void ready.then((milliseconds) => inspector.ready(milliseconds));

  const directory = new Directory(host);
  const people = new People((name) => void desk.open(name));
  const render = (name: string, markdown: string) => preview.show(`${APP}:profile:${key(name)}`, markdown);
  const desk = new Desk(directory, people, new Editor(), render);
  const list = async () => {
    try {
      people.set(await directory.list());
      solved(LISTING);
    } catch (error) {
      problem(LISTING, error);
    }
  };
  // Loads the changes that were made while the server was away.
  showLink(host, () => {
    void list();
    void desk.changed(undefined);
  });

  await host.launch(APP);
  inspector.refresh();
  directory
    .watch((change) => {
      if (change) people.changed(change);
      else void list();
      void desk.changed(change);
    })
    .catch((error: unknown) => problem("Listening for changes", error));
  await desk.open(SAMPLES[0] ?? "ada");
}

/** The server that this page came from, or another one on this machine: `?server=http://127.0.0.1:7711`. */
function server(): string {
  const named = new URLSearchParams(location.search).get("server");
  if (named === null) return location.origin;
  const url = new URL(named);
  const here = ["localhost", "127.0.0.1", "[::1]"];
  if (!here.includes(url.hostname) || !here.includes(location.hostname)) {
    throw new Error(`?server=${named} is not on this machine: leave it out to use the server that sent this page`);
  }
  return url.origin;
}

showTheUncaught();
start().catch((error: unknown) => problem("Starting", error));
