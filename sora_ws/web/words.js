/**
 * What the page says, in English and Chinese, each written by sense.
 * Accessible names of controls are the same in both and stand in the page itself.
 */

import { chinese } from "./words.zh.js";
import { english } from "./words.en.js";

const KEY = "sora-ws.language";

/** The words in use. A live binding: read it when you need it, keep nothing of it. */
export let words = wordsOf(localStorage.getItem(KEY) ?? navigator.language);

export function switchLanguage() {
  words = words === english ? chinese : english;
  localStorage.setItem(KEY, words.tag);
}

/** Puts the words into the elements that ask for them by `data-words…`. */
export function fillIn(root = document) {
  document.documentElement.lang = words.tag;
  for (const element of root.querySelectorAll("[data-words]")) {
    element.textContent = words[element.dataset.words];
  }
  for (const element of root.querySelectorAll("[data-words-title]")) {
    element.title = words[element.dataset.wordsTitle];
  }
  for (const element of root.querySelectorAll("[data-words-placeholder]")) {
    element.placeholder = words[element.dataset.wordsPlaceholder];
  }
}

function wordsOf(tag) {
  return tag.toLowerCase().startsWith("zh") ? chinese : english;
}
