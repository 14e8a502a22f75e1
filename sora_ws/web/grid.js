/** The cards in their order: those under way first, then the newest. */

import { createCard } from "./card.js";
import { isLive } from "./tasks.js";

const TICK_MS = 1_000;
const AGES_EVERY = 30;

export class Grid {
  #tasks;
  #list;
  #act;
  #cards = new Map();
  #ordering = 0;
  #ticks = 0;

  /**
   * @param {import("./tasks.js").Tasks} tasks
   * @param {HTMLUListElement} list
   * @param {object} act see `createCard`
   */
  constructor(tasks, list, act) {
    this.#tasks = tasks;
    this.#list = list;
    this.#act = act;
    tasks.addEventListener("change", ({ detail }) => this.#change(detail));
    new ResizeObserver(() => this.#measure()).observe(list);
    setInterval(() => this.#tick(), TICK_MS);
  }

  /** Says everything anew, in the language that is set now. */
  refresh() {
    for (const [id, card] of this.#cards) card.update(this.#tasks.get(id));
  }

  #change({ id, task, before }) {
    if (task) this.#card(id).update(task);
    else this.#drop(id);
    if (!task || !before || isLive(task) !== isLive(before)) this.#order();
  }

  #card(id) {
    const card = this.#cards.get(id) ?? createCard(id, this.#act);
    this.#cards.set(id, card);
    return card;
  }

  #drop(id) {
    this.#cards.get(id)?.element.remove();
    this.#cards.delete(id);
  }

  /** Once for all changes of a frame; a card that stands right already is left alone. */
  #order() {
    cancelAnimationFrame(this.#ordering);
    this.#ordering = requestAnimationFrame(() => {
      let place = this.#list.firstElementChild;
      for (const { videoId } of this.#tasks.sorted) {
        const { element } = this.#cards.get(videoId);
        if (element === place) place = place.nextElementSibling;
        else move(this.#list, element, place);
      }
    });
  }

  /** A card's rows hang on its width, which only the browser knows. */
  #measure() {
    const [column] = getComputedStyle(this.#list).gridTemplateColumns.split(" ");
    this.#list.style.setProperty("--column", Number.parseFloat(column));
  }

  #tick() {
    this.#ticks += 1;
    const tasks = this.#ticks % AGES_EVERY === 0 ? this.#tasks.sorted : this.#tasks.live;
    for (const task of tasks) this.#cards.get(task.videoId)?.tick(task);
  }
}

/** `moveBefore` keeps focus and a playing video where the browser has it. */
function move(list, element, place) {
  if (list.moveBefore && element.isConnected) list.moveBefore(element, place);
  else list.insertBefore(element, place);
}
