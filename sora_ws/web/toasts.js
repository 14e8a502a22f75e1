/** Short notes at the page's lower edge, which leave by themselves. */

import { element } from "./element.js";

const SECONDS = 5;
const place = document.getElementById("toasts");

/**
 * Shows `text` for a while. `action` {name, run} puts a button beside it. `gone` is called when
 * the note leaves without that button, `always` when it leaves at all.
 * Returns a function that makes it leave at once.
 */
export function toast(text, { action = null, gone = () => {}, always = () => {} } = {}) {
  const leave = (then) => {
    if (!note.isConnected) return;
    clearTimeout(timer);
    note.remove();
    always();
    then();
  };
  const timer = setTimeout(() => leave(gone), SECONDS * 1000);
  const note = element("div.toast", {}, element("span", { textContent: text }));
  if (action) {
    const onclick = () => leave(action.run);
    note.append(element("button.quiet", { type: "button", textContent: action.name, onclick }));
  }
  place.append(note);
  bringToFront();
  return () => leave(gone);
}

/** Above an open dialog too: what was shown last lies on top. */
function bringToFront() {
  if (place.matches(":popover-open")) place.hidePopover();
  place.showPopover();
}
