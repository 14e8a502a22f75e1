/** The theme: as the system has it, or light, or dark. theme.js sets it before the first paint. */

import { icon } from "./element.js";
import { words } from "./words.js";

const KEY = "sora-ws.theme";
const dark = matchMedia("(prefers-color-scheme: dark)");
const root = document.documentElement;
const button = document.getElementById("theme");

export function switchTheme() {
  // The first step is the one that is seen.
  const steps = dark.matches ? ["auto", "light", "dark"] : ["auto", "dark", "light"];
  const next = steps[(steps.indexOf(root.dataset.theme ?? "auto") + 1) % steps.length];
  if (next === "auto") {
    delete root.dataset.theme;
    localStorage.removeItem(KEY);
  } else {
    root.dataset.theme = next;
    localStorage.setItem(KEY, next);
  }
  sayTheme();
}

export function sayTheme() {
  const theme = root.dataset.theme ?? "auto";
  button.replaceChildren(icon(theme));
  button.title = button.ariaLabel = words.theme[theme];
}
