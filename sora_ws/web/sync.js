/** Keeps the tasks as the server has them: pages of the list, pushes, and what a break has hidden. */

import { ApiError, getVideo, listVideos } from "./api.js";
import { isLive } from "./tasks.js";

/** Changes that come together are looked up together. */
const SOON_MS = 250;

/** A place in the queue moves without a push. */
const QUEUE_MS = 10_000;

export class Sync {
  #tasks;
  #end;
  #fault;
  #observer;
  #cursor = null;
  #isLoading = false;
  /** Counts the sign-ins: what an earlier one asked for is not for this one. */
  #round = 0;
  #asked = new Set();
  #soonTimer = 0;
  #queueTimer = 0;

  /** True once the server has said what there is. */
  hasList = false;

  /**
   * @param {import("./tasks.js").Tasks} tasks
   * @param {HTMLElement} end what stands behind the last card; the next page comes when it is near
   * @param {(error) => void} fault told of calls that failed
   */
  constructor(tasks, end, fault) {
    this.#tasks = tasks;
    this.#end = end;
    this.#fault = fault;
    this.#observer = new IntersectionObserver(([entry]) => entry.isIntersecting && this.#more(), {
      rootMargin: "800px",
    });
  }

  /** The newest tasks; further ones come as they are scrolled to. */
  start() {
    this.#queueTimer = setInterval(() => this.#followQueue(), QUEUE_MS);
    return this.#update();
  }

  stop() {
    this.#round += 1;
    this.#cursor = null;
    this.#isLoading = false;
    this.hasList = false;
    this.#asked.clear();
    this.#observer.disconnect();
    clearInterval(this.#queueTimer);
    clearTimeout(this.#soonTimer);
  }

  /** What a push says; the rest of an unknown task, and what a push doesn't carry, is asked for. */
  take(update) {
    const before = this.#tasks.get(update.videoId);
    if (!this.#tasks.push(update)) this.#look(update.videoId);
    else if (isTurn(before, update)) this.soon();
  }

  /** The line is open, first or again: what the server says now counts, whatever was known. */
  catchUp() {
    this.#tasks.forgetOrder();
    this.#update();
  }

  soon() {
    clearTimeout(this.#soonTimer);
    this.#soonTimer = setTimeout(() => this.#update(), SOON_MS);
  }

  async #update() {
    const held = this.#tasks.sorted;
    const page = await this.#ask(() => listVideos());
    if (!page) return;
    if (!this.hasList) return this.#append(page);
    const listed = new Set(page.items.map(({ videoId }) => videoId));
    const oldest = page.nextCursor ? page.items.at(-1).createdAt : 0;
    for (const task of page.items) this.#tasks.put(task);
    for (const task of held.filter(({ videoId }) => !listed.has(videoId))) {
      if (task.createdAt > oldest) this.#tasks.remove(task.videoId);
      else if (isLive(task)) this.#look(task.videoId);
    }
  }

  async #more() {
    if (this.#isLoading) return;
    this.#isLoading = true;
    const page = await this.#ask(() => listVideos(this.#cursor));
    this.#isLoading = false;
    if (page) this.#append(page);
  }

  #append({ items, nextCursor }) {
    for (const task of items) this.#tasks.put(task);
    this.hasList = true;
    this.#cursor = nextCursor;
    this.#observer.disconnect();
    if (nextCursor) this.#observer.observe(this.#end);
  }

  async #look(id) {
    if (this.#asked.has(id)) return;
    this.#asked.add(id);
    const task = await this.#ask(() => getVideo(id), () => this.#tasks.remove(id));
    this.#asked.delete(id);
    if (task) this.#tasks.put(task);
  }

  #followQueue() {
    if (this.#tasks.live.some(({ queuePosition }) => queuePosition)) this.#update();
  }

  /** The answer, or null where there is none or nobody waits for it any more. */
  async #ask(call, missing = () => {}) {
    const round = this.#round;
    try {
      const answer = await call();
      return round === this.#round ? answer : null;
    } catch (error) {
      if (round !== this.#round) return null;
      if (error instanceof ApiError && error.status === 404) missing();
      else this.#fault(error);
      return null;
    }
  }
}

/** A step, an end or the first percent: who counts the percents and since when, only REST tells. */
function isTurn(before, { currentStep, progress }) {
  return before.currentStep !== currentStep || (before.progress === 0 && progress > 0);
}
