/** The page as a whole: who knows whom, and what follows from what. */

import * as api from "./api.js";
import { Composer } from "./composer.js";
import { Detail } from "./detail.js";
import { element, say } from "./element.js";
import { Grid } from "./grid.js";
import { openLine, sayLine } from "./live.js";
import { sentenceOf } from "./problems.js";
import { session } from "./session.js";
import { welcome } from "./signin.js";
import { Sync } from "./sync.js";
import { isLive, stateOf, Tasks, titleOf } from "./tasks.js";
import { sayTheme, switchTheme } from "./themes.js";
import { toast } from "./toasts.js";
import { fillIn, switchLanguage, words } from "./words.js";

const byId = (id) => document.getElementById(id);

const tasks = new Tasks();
// That the server can't be reached is said by the header.
const sync = new Sync(tasks, byId("more"), (error) => error.status === 0 || showFault(error));
const act = { open, cancel, retry, remove, change };
const grid = new Grid(tasks, byId("grid"), act);
const detail = new Detail(byId("detail"), tasks, act);
const composer = new Composer(byId("composer"), (task) => tasks.put(task));

/** The deletions that can still be taken back, each as a function that makes it final. */
const deletions = new Set();

let closeLine = () => {};
let lastUser = null;

// --- what people do with a task ---

function open(id) {
  detail.open(id);
}

async function cancel(id) {
  await attempt(() => api.cancelVideo(id));
  sync.soon();
}

async function retry(id) {
  const task = await attempt(() => api.retryVideo(id));
  if (task) tasks.put(task);
}

function change(id) {
  composer.fill(tasks.get(id));
}

/** Undo instead of a question. */
function remove(id) {
  tasks.hide(id);
  const settle = toast(words.deleted, {
    action: { name: words.undo, run: () => tasks.show(id) },
    gone: () => reallyRemove(id),
    always: () => deletions.delete(settle),
  });
  deletions.add(settle);
}

async function reallyRemove(id) {
  try {
    await api.deleteVideo(id);
    tasks.remove(id);
  } catch (error) {
    if (error.status === 404) return tasks.remove(id);
    tasks.show(id);
    showFault(error);
  }
}

/** The call's answer, or null where it failed and a note has said so. */
async function attempt(call) {
  try {
    return await call();
  } catch (error) {
    showFault(error);
    return null;
  }
}

function showFault(error) {
  if (!(error instanceof api.ApiError)) throw error;
  if (error.status !== 401) toast(sentenceOf(error));
}

// --- what the page says of all tasks together ---

tasks.addEventListener("change", ({ detail: { task, before } }) => {
  announce(task, before);
  sayWhole();
});

/** Starts and ends are told, not each percent. */
function announce(task, before) {
  if (!task || !before) return;
  const [from, to] = [stateOf(before), stateOf(task)];
  if (from === to) return;
  if (to === "rendering") say(byId("said"), words.started(titleOf(task)));
  if (to === "completed" && isLive(before)) say(byId("said"), words.ready(titleOf(task)));
  if (to === "failed" && isLive(before)) say(byId("said"), words.ended(titleOf(task)));
}

function sayWhole() {
  const furthest = tasks.live.reduce((most, { progress }) => Math.max(most, progress), -1);
  document.title = furthest < 0 ? "sora-ws" : `${furthest}% · sora-ws`;
  byId("simulator").hidden = !tasks.newest?.simulated;
  byId("examples").hidden = !sync.hasList || tasks.newest !== null;
}

// --- language and theme ---

function sayEverything() {
  fillIn();
  sayLine();
  sayTheme();
  const { tag, name } = words.otherLanguage;
  Object.assign(byId("language"), { textContent: name, lang: tag });
  byId("examples").querySelector("ul").replaceChildren(...words.examples.map(example));
  composer.refresh();
  grid.refresh();
}

function example(prompt) {
  const onclick = () => composer.fill({ prompt });
  return element("li", {}, element("button", { type: "button", textContent: prompt, onclick }));
}

byId("language").addEventListener("click", () => {
  switchLanguage();
  sayEverything();
});
byId("theme").addEventListener("click", switchTheme);

// --- who is there ---

/** Whoever leaves has meant it. */
function settleDeletions() {
  for (const settle of deletions) settle();
}

byId("sign-out").addEventListener("click", () => {
  settleDeletions();
  composer.clear();
  session.end();
});
addEventListener("pagehide", settleDeletions);
session.addEventListener("change", ({ detail: { reason } }) => {
  enter(reason);
  // On a touch screen the focus would bring the keyboard up over everything.
  if (session.current && matchMedia("(hover: hover)").matches) composer.focus();
});

function enter(reason) {
  leave();
  const user = session.current;
  for (const id of ["work", "line", "sign-out", "account"]) byId(id).hidden = !user;
  byId("welcome").hidden = user !== null;
  byId("account").textContent = user?.username ?? "";
  if (!user) return welcome(reason);
  // What is half written is kept for who wrote it.
  if (lastUser && lastUser !== user.userId) composer.clear();
  lastUser = user.userId;
  sync.start().then(sayWhole);
  closeLine = openLine({ ready: () => sync.catchUp(), update: (update) => sync.take(update) });
}

function leave() {
  closeLine();
  closeLine = () => {};
  detail.close();
  sync.stop();
  tasks.clear();
}

sayEverything();
enter("lead");
