/** Where a video is asked for. */

import { ApiError, createVideo } from "./api.js";
import { element } from "./element.js";
import { ImagePick } from "./image.js";
import { shownSize } from "./numbers.js";
import { showProblem } from "./problems.js";
import { words } from "./words.js";

const CHOICES = "sora-ws.choices";
const MODELS = ["sora-2", "sora-2-pro"];
const SIZES = { "1280x720": "landscape", "720x1280": "portrait", "1792x1024": "wide", "1024x1792": "tall" };
const SECONDS = [4, 5, 8, 10, 12];
const OTHER = "other";

export class Composer {
  #form;
  #created;
  #problem;
  #image;
  /** The order that is being tried, and its key: tried again unchanged it must not become two tasks. */
  #attempt = { order: "", key: "" };
  #isSending = false;

  /**
   * @param {HTMLFormElement} form
   * @param {(task) => void} created called with each task that the server took
   */
  constructor(form, created) {
    this.#form = form;
    this.#created = created;
    this.#problem = form.querySelector(".problem");
    this.#image = new ImagePick(form, (message) => this.#complain(message));
    this.#listen();
    this.refresh();
    this.#choose(JSON.parse(localStorage.getItem(CHOICES)) ?? { size: "1280x720", seconds: "8" });
  }

  /** Says everything anew, in the language that is set now. */
  refresh() {
    const { model, size, seconds } = this.#form;
    const chosen = { model: model.value, size: size.value, seconds: seconds.value };
    model.replaceChildren(
      option("", words.defaultModel),
      ...MODELS.map((name) => option(name, name)),
      option(OTHER, words.otherModel),
    );
    size.replaceChildren(
      ...Object.entries(SIZES).map(([size, shape]) =>
        option(size, `${words.shapes[shape]} ${shownSize(size)}`),
      ),
    );
    seconds.replaceChildren(...SECONDS.map((value) => option(String(value), words.seconds(value))));
    this.#choose(chosen);
  }

  /** Puts an earlier order back in, to be changed; its image can't come back. */
  fill({ prompt, model = "", size, seconds }) {
    this.#form.prompt.value = prompt;
    this.#choose({ model, size, seconds: seconds && String(seconds) });
    this.#form.prompt.focus();
    this.#form.scrollIntoView({ block: "nearest" });
  }

  focus() {
    this.#form.prompt.focus();
  }

  clear() {
    this.#form.prompt.value = "";
    this.#image.clear();
    this.#problem.replaceChildren();
  }

  #listen() {
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#submit();
    });
    this.#form.addEventListener("change", () => this.#remember());
    this.#form.addEventListener("input", () => this.#problem.replaceChildren());
    this.#form.prompt.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) this.#form.requestSubmit();
    });
    this.#form.model.addEventListener("change", () => {
      this.#showOther();
      if (!this.#form.otherModel.hidden) this.#form.otherModel.focus();
    });
  }

  async #submit() {
    const order = this.#order();
    if (!order.prompt.trim()) return this.#complain(words.promptMissing);
    if (this.#isSending) return;
    this.#sending(true);
    try {
      const task = await createVideo(order, this.#image.file, this.#keyOf(order));
      this.clear();
      this.#created(task);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      if (error.status !== 401) showProblem(this.#problem, error);
    } finally {
      this.#sending(false);
    }
  }

  /** A button that is disabled loses the focus; this one only says that it is busy. */
  #sending(isSending) {
    this.#isSending = isSending;
    this.#form.querySelector("[type=submit]").ariaDisabled = isSending;
  }

  #order() {
    const { prompt, model, otherModel, size, seconds } = this.#form;
    const name = model.value === OTHER ? otherModel.value.trim() : model.value;
    return {
      prompt: prompt.value,
      ...(name && { model: name }),
      size: size.value,
      seconds: Number(seconds.value),
    };
  }

  #keyOf(order) {
    const whole = JSON.stringify([order, this.#image.id]);
    if (this.#attempt.order !== whole) this.#attempt = { order: whole, key: randomKey() };
    return this.#attempt.key;
  }

  #complain(message) {
    this.#problem.replaceChildren(message);
    this.#form.prompt.focus();
  }

  #remember() {
    const { model = "", size, seconds } = this.#order();
    localStorage.setItem(CHOICES, JSON.stringify({ model, size, seconds: String(seconds) }));
  }

  #choose({ model, size, seconds }) {
    const form = this.#form;
    pick(form.model, model);
    pick(form.size, size, shownSize);
    pick(form.seconds, seconds, (value) => words.seconds(value));
    this.#showOther();
  }

  #showOther() {
    const { model, otherModel } = this.#form;
    otherModel.hidden = model.value !== OTHER;
  }
}

/** Chooses `value`, which an earlier order may have had though it is none of the usual ones. */
function pick(select, value, name = (text) => text) {
  if (value === undefined || value === null) return;
  const isKnown = [...select.options].some((known) => known.value === value);
  if (!isKnown) select.append(option(value, name(value)));
  select.value = value;
}

const option = (value, textContent) => element("option", { value, textContent });

/** `crypto.randomUUID` exists on https and localhost alone, and the page works by any name. */
function randomKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
