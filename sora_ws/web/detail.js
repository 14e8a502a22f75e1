/** One task in full: the player, the words, what it took, and all that can be done with it. */

import { element, icon } from "./element.js";
import { createFace, outlook } from "./face.js";
import { ratioOf, shownSize } from "./numbers.js";
import { isLive, pathOf, stateOf } from "./tasks.js";
import { toast } from "./toasts.js";
import { words } from "./words.js";

const TICK_MS = 1_000;

export class Detail {
  #dialog;
  #tasks;
  #act;
  #id = null;
  #face = null;
  #line = null;
  #timer = 0;

  /**
   * @param {HTMLDialogElement} dialog
   * @param {import("./tasks.js").Tasks} tasks
   * @param {{cancel, retry, remove, change}} act each called with the task's id
   */
  constructor(dialog, tasks, act) {
    this.#dialog = dialog;
    this.#tasks = tasks;
    this.#act = act;
    dialog.addEventListener("close", () => this.#closed());
    // What lies behind is inert; said once more for those who read the tree by themselves.
    dialog.addEventListener("beforetoggle", ({ newState }) => newState === "closed" && showMain(true));
    dialog.addEventListener("click", ({ target }) => target === dialog && dialog.close());
    tasks.addEventListener("change", ({ detail }) => detail.id === this.#id && this.#change(detail));
  }

  open(id) {
    this.#id = id;
    this.#build(this.#tasks.get(id));
    this.#dialog.showModal();
    showMain(false);
    this.#timer = setInterval(() => this.#tick(), TICK_MS);
  }

  close() {
    this.#dialog.close();
  }

  #closed() {
    clearInterval(this.#timer);
    this.#id = null;
    this.#dialog.replaceChildren();
  }

  #change({ task, before }) {
    if (!task) return this.close();
    if (before && stateOf(task) === stateOf(before)) this.#face.update(task);
    else this.#build(task);
  }

  #tick() {
    const task = this.#tasks.get(this.#id);
    if (!isLive(task)) return;
    this.#face.tick(task);
    this.#line.textContent = outlook(task);
  }

  #build(task) {
    this.#face = createFace({ isPlayer: true });
    this.#line = element("p.standing", { textContent: standing(task) });
    const close = element(
      "button.quiet.icon.shut",
      { type: "button", ariaLabel: "Close", title: words.close, onclick: () => this.close() },
      icon("close"),
    );
    const prompt = element("p", { id: "detail-prompt", textContent: task.prompt });
    const side = element(
      "div.side",
      {},
      this.#line,
      element("div.words", {}, prompt, copyButton(task.prompt)),
      facts(task),
      element("div.deeds", {}, ...this.#deeds(task)),
    );
    this.#dialog.style.setProperty("--ratio", ratioOf(task.result?.resolution ?? task.size));
    this.#dialog.replaceChildren(close, element("div.stage", {}, this.#face.element), side);
    this.#face.update(task);
    if (this.#dialog.open && !this.#dialog.contains(document.activeElement)) close.focus();
  }

  #deeds(task) {
    const button = (kind, name, ariaLabel, act) => {
      const onclick = () => this.#leave(act);
      return element(`button.${kind}`, { type: "button", ariaLabel, onclick }, icon(name), words[name]);
    };
    if (isLive(task)) {
      const onclick = () => this.#act.cancel(task.videoId);
      return [element("button.soft", { type: "button", ariaLabel: "Cancel", onclick }, words.cancel)];
    }
    const isPlayable = stateOf(task) === "completed";
    return [
      isPlayable ? download(task) : button("strong", "retry", "Retry", this.#act.retry),
      button("soft", "change", null, this.#act.change),
      button("soft", "delete", "Delete", this.#act.remove),
    ];
  }

  #leave(act) {
    const id = this.#id;
    this.close();
    act(id);
  }
}

function showMain(isShown) {
  document.getElementById("work").ariaHidden = isShown ? null : "true";
}

function standing(task) {
  if (isLive(task)) return outlook(task);
  const state = stateOf(task);
  return state === "completed" ? words.at(task.finishedAt) : words[state];
}

function copyButton(text) {
  const done = () => toast(words.copied);
  return element(
    "button.quiet.icon",
    { type: "button", ariaLabel: "Copy", title: words.copy, onclick: () => copy(text).then(done) },
    icon("copy"),
  );
}

/** The clipboard is there on https and localhost alone; elsewhere the old way still goes. */
async function copy(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  getSelection().selectAllChildren(document.getElementById("detail-prompt"));
  document.execCommand("copy");
}

function download(task) {
  return element(
    "a.strong",
    { href: pathOf(task.result.videoUrl), download: `${task.videoId}.mp4`, ariaLabel: "Download" },
    icon("download"),
    words.download,
  );
}

function facts({ model, size, seconds, result, metrics, createdAt }) {
  const pixels = result?.resolution ?? size;
  const length = result ? Math.round(result.duration * 10) / 10 : seconds;
  const shown = {
    model,
    size: pixels && shownSize(pixels),
    length: length && words.seconds(length),
    file: result?.fileSize && words.megabytes(result.fileSize),
    waited: metrics && words.duration(metrics.queueTime),
    rendered: result && metrics && words.duration(metrics.processTime),
    asked: words.at(createdAt),
  };
  const rows = Object.entries(shown).filter(([, value]) => value);
  return element(
    "dl.facts",
    {},
    ...rows.flatMap(([name, value]) => [
      element("dt", { textContent: words.facts[name] }),
      element("dd", { textContent: value }),
    ]),
  );
}
