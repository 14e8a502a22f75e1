/** The page's one line to the server, and what the header says of it. */

import { refresh } from "./api.js";
import { session } from "./session.js";
import { SoraWS } from "./sora-ws.js";
import { words } from "./words.js";

const CALM = new Set(["connecting", "connected"]);
const CALM_MS = 2_000;
const DISABLED = 4403;
const sign = document.getElementById("line");

let shown = "connecting";
let worry = null;

/**
 * Opens the line. `ready` is called whenever it is open, first and again; `update` with each push.
 * Returns a function that ends it.
 */
export function openLine({ ready, update }) {
  become("connecting");
  const line = new SoraWS({ token: currentToken, url: address() });
  line.addEventListener("state", ({ detail }) => {
    show(detail);
    if (detail.state === "open") ready();
    if (detail.state === "tokenNeeded") session.end("sessionOver");
    if (detail.code === DISABLED) session.end("disabled");
  });
  line.addEventListener("task", ({ detail }) => update(detail));
  line.watchRoom("user");
  return () => line.close();
}

/** Says the state of the line in the language that is set now. */
export function sayLine() {
  sign.dataset.state = shown;
  sign.classList.toggle("troubled", !CALM.has(shown));
  sign.lastElementChild.textContent = words[shown];
}

/** A break of less than two seconds is nobody's business. */
function show({ state }) {
  if (state === "open") become("connected");
  else if (state === "closed") become("disconnected");
  else worry ??= setTimeout(() => become(navigator.onLine ? "reconnecting" : "offline"), CALM_MS);
}

function become(state) {
  clearTimeout(worry);
  worry = null;
  shown = state;
  sayLine();
}

async function currentToken(why) {
  if (session.current === null) return null;
  if (why === "connect" && !session.isAging) return session.token;
  const { userId } = session.current;
  const login = await refresh();
  if (session.current?.userId === userId) session.begin(login);
  return session.token;
}

function address() {
  const url = new URL("ws", document.baseURI);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  return url.href;
}
