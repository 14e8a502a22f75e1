/** The image that a video may start from: picked, dropped on the composer, or pasted. */

import { words } from "./words.js";

const TYPES = new Set(["image/jpeg", "image/png", "image/webp"]);

export class ImagePick {
  #form;
  #complain;
  #input;
  #preview;
  #takeOut;
  #chip;

  /** The file, or null. */
  file = null;
  /** Another number for each file that was picked. */
  id = 0;

  /**
   * @param {HTMLFormElement} form the composer, where images may be dropped and pasted
   * @param {(message: string) => void} complain told of files that are no use
   */
  constructor(form, complain) {
    this.#form = form;
    this.#complain = complain;
    this.#chip = form.querySelector("#image");
    this.#input = this.#chip.querySelector("input");
    this.#preview = this.#chip.querySelector("img");
    this.#takeOut = this.#chip.querySelector(".take-out");
    this.#listen();
  }

  clear() {
    this.#set(null);
  }

  #listen() {
    this.#chip.querySelector(".pick").addEventListener("click", () => this.#input.click());
    this.#takeOut.addEventListener("click", () => this.clear());
    this.#input.addEventListener("change", () => this.#take(this.#input.files));
    this.#form.addEventListener("paste", (event) => this.#takeFrom(event, event.clipboardData));
    this.#form.addEventListener("drop", (event) => this.#takeFrom(event, event.dataTransfer));
    this.#form.addEventListener("dragover", (event) => this.#invite(event));
    this.#form.addEventListener("dragleave", () => this.#form.classList.remove("dropping"));
  }

  #invite(event) {
    if (!event.dataTransfer.types.includes("Files")) return;
    event.preventDefault();
    this.#form.dataset.drop = words.dropHere;
    this.#form.classList.add("dropping");
  }

  /** Text that is pasted or dropped goes its usual way. */
  #takeFrom(event, { files }) {
    this.#form.classList.remove("dropping");
    if (files.length === 0) return;
    event.preventDefault();
    this.#take(files);
  }

  #take([file]) {
    if (!file) return;
    if (TYPES.has(file.type)) this.#set(file);
    else this.#complain(words.notAnImage);
  }

  #set(file) {
    URL.revokeObjectURL(this.#preview.src);
    this.file = file;
    this.id += 1;
    this.#input.value = "";
    this.#preview.hidden = this.#takeOut.hidden = !file;
    this.#chip.classList.toggle("filled", file !== null);
    if (file) this.#preview.src = URL.createObjectURL(file);
    else this.#preview.removeAttribute("src");
  }
}
