/** One task in the grid. */

import { now } from "./clock.js";
import { element, icon, say } from "./element.js";
import { calm, createFace, outlook } from "./face.js";
import { ratioOf, shownSize } from "./numbers.js";
import { isLive, pathOf, stateOf, titleOf } from "./tasks.js";
import { words } from "./words.js";

/**
 * @param {string} id the task's
 * @param {{open, cancel, retry, remove}} act what the card's controls do, each called with the id
 * @returns {{element: HTMLLIElement, update: (task) => void, tick: (task) => void}}
 *   `update` for what the server said, `tick` for the time that went by
 */
export function createCard(id, act) {
  const face = createFace();
  const open = element("button.open", { type: "button" });
  const line = element("p.line-1");
  const facts = element("p.line-2");
  const actions = element("div.actions");
  const article = element("article.card", {}, face.element, open, line, facts, actions);
  const item = element("li", {}, article);
  let offered = "";

  // The whole card opens it; the button is for the keyboard and for those who can't see.
  article.addEventListener("click", ({ target }) => {
    if (!actions.contains(target)) act.open(id);
  });
  article.addEventListener("pointerenter", ({ pointerType }) => {
    if (pointerType === "mouse") play(face.video());
  });
  article.addEventListener("pointerleave", () => face.video()?.pause());
  open.addEventListener("focus", () => {
    if (open.matches(":focus-visible")) play(face.video());
  });
  open.addEventListener("blur", () => face.video()?.pause());

  function update(task) {
    article.dataset.state = stateOf(task);
    item.style.setProperty("--ratio", ratioOf(task.result?.resolution ?? task.size));
    say(open, titleOf(task));
    const hadVideo = face.video() !== null;
    face.update(task);
    if (!hadVideo && article.matches(":hover")) play(face.video());
    offer(task);
    tick(task);
  }

  function tick(task) {
    if (isLive(task)) face.tick(task);
    say(line, headline(task));
    say(facts, factsOf(task));
    facts.title = words.at(task.createdAt);
  }

  function offer(task) {
    const offer = `${stateOf(task)} ${words.tag}`;
    if (offer === offered) return;
    offered = offer;
    const hadFocus = actions.contains(document.activeElement);
    actions.replaceChildren(...controls(task, act));
    if (hadFocus) open.focus({ preventScroll: true });
  }

  return { element: item, update, tick };
}

function headline(task) {
  if (isLive(task)) return outlook(task);
  const state = stateOf(task);
  return state === "completed" ? "" : words[state];
}

function factsOf(task) {
  const size = task.result?.resolution ?? task.size;
  const seconds = task.result ? Math.round(task.result.duration * 10) / 10 : task.seconds;
  return [
    seconds && words.seconds(seconds),
    size && shownSize(size),
    isLive(task) ? null : words.ago((now() - task.finishedAt) / 1000),
  ]
    .filter(Boolean)
    .join(" · ");
}

function controls(task, act) {
  const id = task.videoId;
  if (isLive(task)) return [textButton("Cancel", words.cancel, () => act.cancel(id))];
  const first =
    stateOf(task) === "completed"
      ? downloadLink(task)
      : textButton("Retry", words.retry, () => act.retry(id));
  return [first, deleteButton(() => act.remove(id))];
}

const textButton = (ariaLabel, textContent, onclick) =>
  element("button.quiet", { type: "button", ariaLabel, textContent, onclick });

const deleteButton = (onclick) =>
  element(
    "button.quiet.icon",
    { type: "button", ariaLabel: "Delete", title: words.delete, onclick },
    icon("delete"),
  );

function downloadLink(task) {
  return element(
    "a.quiet.icon",
    {
      href: pathOf(task.result.videoUrl),
      download: `${task.videoId}.mp4`,
      ariaLabel: "Download",
      title: words.download,
    },
    icon("download"),
  );
}

function play(video) {
  if (!video || calm.matches) return;
  // A pointer that leaves before the first frame aborts the play; that is no fault.
  video.play().catch((error) => {
    if (error.name !== "AbortError") throw error;
  });
}
