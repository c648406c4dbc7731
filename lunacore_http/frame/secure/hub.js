/**
 * The hub: the one frame of a page that talks to the page, to the tokenizer and to the object store. The frames of the elements
 * are of its origin, and talk to it alone.
 */

import { Elements } from "./elements.js";
import { dropped } from "./messages.js";
import { Page } from "./page.js";
import { Session } from "./session.js";
import { Vault } from "./vault.js";

const root = document.documentElement;
const origins = (root.dataset.appOrigins ?? "").split(" ").filter(Boolean);

const page = new Page(origins, (order) => elements.order(order));
const provider = new URLSearchParams(location.hash.slice(1)).get("provider");
const session = new Session(provider, root.dataset.cookie ?? "", (renew) => page.attemptSession(renew));
const elements = new Elements(new Vault(session), (report) => page.tell(report));

/** @type {string | null} */
let connection = null;

addEventListener("message", (event) => {
  const type = event.data?.type;
  if (type === "attach") return elements.attach(event, connection);
  if (type !== "connect") return dropped("it is neither from the page nor from a frame beside this one");
  const nonce = page.connect(event);
  if (nonce === null) return;
  connection = nonce;
  // By this the frames of elements find the hub of their page.
  root.dataset.connection = nonce;
});

// Meanwhile somebody may have logged out, or somebody else in.
addEventListener("visibilitychange", async () => {
  if (!document.hidden && !(await session.check())) elements.recheck();
});
