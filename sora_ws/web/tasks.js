/**
 * The tasks as the server said them last; nothing here is guessed.
 *
 * Fires `change` with {id, task, before} in `detail`: `before` is null for a new task, `task`
 * for one that is gone.
 */

import { words } from "./words.js";

/** Pushes have no field for it: these are the protocol's words for "well beyond the usual time". */
const OVERDUE = new Set(["Taking longer than usual...", "生成时间比平时长，请耐心等待..."]);

export const isLive = (task) => task.status === "QUEUED" || task.status === "PROCESSING";

/** What the page shows: submitting, queued, rendering, archiving, completed, expired, failed, cancelled. */
export function stateOf(task) {
  if (isLive(task)) return task.currentStep;
  if (task.status === "COMPLETED" && task.result?.expired) return "expired";
  return task.status.toLowerCase();
}

export const isOverdue = (task) => stateOf(task) === "rendering" && OVERDUE.has(task.message);

/** Why there is no video, in one sentence. */
export function reasonOf({ error }) {
  return error?.details ?? words.reasons[error?.code] ?? words.reasons.GENERATION_FAILED;
}

/** Enough of the prompt to know the task by; a whole one may be as long as a chapter. */
export const titleOf = ({ prompt }) => prompt.slice(0, 300);

/** The page uses a link's path, not its host, so that it works by whatever name it was opened. */
export function pathOf(link) {
  const { pathname, search } = new URL(link, document.baseURI);
  return pathname + search;
}

export class Tasks extends EventTarget {
  #tasks = new Map();
  #hidden = new Set();
  /** An answer that was under way when a task was deleted must not bring it back. */
  #gone = new Set();

  get(id) {
    return this.#tasks.get(id);
  }

  /** Those under way first, then the newest. */
  get sorted() {
    return this.#shown.sort((a, b) => isLive(b) - isLive(a) || b.createdAt - a.createdAt);
  }

  get live() {
    return this.#shown.filter(isLive);
  }

  get newest() {
    return this.#shown.reduce((a, b) => (a && a.createdAt >= b.createdAt ? a : b), null);
  }

  get #shown() {
    return [...this.#tasks.values()].filter(({ videoId }) => !this.#hidden.has(videoId));
  }

  /** A whole task, as REST gives it. An older one than what is held is dropped. */
  put(task) {
    const before = this.#tasks.get(task.videoId) ?? null;
    if (this.#gone.has(task.videoId) || (before && task.seq < before.seq)) return;
    this.#set(before, task);
  }

  /** What a push says of a task. False where the task isn't known yet. */
  push(update) {
    const before = this.#tasks.get(update.videoId);
    if (!before) return false;
    if (update.seq > before.seq) this.#set(before, { ...before, ...READ[update.type](update) });
    return true;
  }

  remove(id) {
    const before = this.#tasks.get(id);
    this.#gone.add(id);
    this.#hidden.delete(id);
    if (this.#tasks.delete(id)) this.#tell(id, null, before);
  }

  /** Out of sight, as long as its deletion can be taken back. */
  hide(id) {
    this.#hidden.add(id);
    this.#tell(id, null, this.#tasks.get(id));
  }

  show(id) {
    if (this.#hidden.delete(id)) this.#tell(id, this.#tasks.get(id), null);
  }

  /** After a break the server's next word counts, whatever its number. */
  forgetOrder() {
    for (const [id, task] of this.#tasks) this.#tasks.set(id, { ...task, seq: -1 });
  }

  clear() {
    for (const id of [...this.#tasks.keys()]) this.remove(id);
    this.#gone.clear();
  }

  #set(before, task) {
    const held = { ...task, heardAt: performance.now() };
    this.#tasks.set(task.videoId, held);
    if (!this.#hidden.has(task.videoId)) this.#tell(task.videoId, held, before);
  }

  #tell(id, task, before) {
    this.dispatchEvent(new CustomEvent("change", { detail: { id, task, before } }));
  }
}

const ENDED = { queuePosition: null, estimatedTimeRemaining: null };

/** A push by its type, as the fields of a task. */
const READ = {
  taskProgress: ({ type, ...fields }) => ({ queuePosition: null, ...fields }),
  taskCompleted: ({ result, metrics, seq }) => ({
    ...ENDED,
    status: "COMPLETED",
    progress: 100,
    result,
    metrics,
    seq,
  }),
  taskFailed: ({ error, seq }) => ({
    ...ENDED,
    status: error.code === "CANCELLED" ? "CANCELLED" : "FAILED",
    error,
    seq,
  }),
};
