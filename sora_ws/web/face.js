/** The picture side of a task, in a card as well as in the detail: how far it is, or the video. */

import { now } from "./clock.js";
import { element, say } from "./element.js";
import { clock } from "./numbers.js";
import { barAt } from "./progress.js";
import { isLive, isOverdue, pathOf, reasonOf, stateOf } from "./tasks.js";
import { words } from "./words.js";

/** Matches where somebody wants nothing to move by itself. */
export const calm = matchMedia("(prefers-reduced-motion: reduce)");

/** Seconds since the server said what `task` holds. */
export const sinceHeard = (task) => (performance.now() - task.heardAt) / 1000;

export const elapsed = (task) => (now() - task.createdAt) / 1000;

/** What comes next and when, in a few words; for tasks under way. */
export function outlook(task) {
  const state = stateOf(task);
  if (state === "archiving") return words.almostThere;
  if (isOverdue(task)) return words.overdue((now() - (task.startedAt ?? task.createdAt)) / 1000);
  if (state === "rendering") return remaining(task);
  return task.queuePosition ? words.inLine(task.queuePosition) : words.notBegun;
}

function remaining(task) {
  if (task.estimatedTimeRemaining === null) return words.rendering;
  return words.left(Math.max(0, task.estimatedTimeRemaining - sinceHeard(task)));
}

/**
 * @param {boolean} isPlayer with the controls of a player, for the detail
 * @returns {{element: HTMLElement, update: (task) => void, tick: (task) => void,
 *   video: () => HTMLVideoElement | null}}
 */
export function createFace({ isPlayer = false } = {}) {
  const big = element("p.big");
  const time = element("p.elapsed");
  const reason = element("p.reason");
  const fill = element("i");
  const bar = element("div.bar", { role: "progressbar", ariaValueMin: "0", ariaValueMax: "100" }, fill);
  const face = element("div.face", {}, element("div.glow", { ariaHidden: "true" }), big, time, reason, bar);
  let video = null;
  let shown = 0;

  function update(task) {
    const state = stateOf(task);
    const live = isLive(task);
    face.dataset.state = state;
    face.toggleAttribute("data-overdue", isOverdue(task));
    face.toggleAttribute("data-estimated", task.progressSource === "estimated");
    bar.hidden = time.hidden = !live;
    big.hidden = !live;
    reason.replaceChildren(...whyNoVideo(task, state));
    showVideo(state === "completed" ? task : null);
    if (live) {
      showBig(task, state);
      tick(task);
    }
  }

  function showBig(task, state) {
    if (state !== "rendering") return say(big, stepWord(task, state));
    const sign = task.progressSource === "estimated" ? [small("≈")] : [];
    big.replaceChildren(...sign, String(task.progress), small("%"));
  }

  function showVideo(task) {
    const source = task && pathOf(task.result.videoUrl);
    if (!source) {
      video?.remove();
      video = null;
    } else if (!video) {
      video = makeVideo(task, source, isPlayer);
      face.append(video);
    }
  }

  function tick(task) {
    if (stateOf(task) === "rendering") shown = barAt(task, sinceHeard(task), shown);
    else shown = Math.max(shown, task.progress);
    fill.style.setProperty("--at", shown / 100);
    bar.ariaValueNow = task.progress;
    bar.ariaLabel = words.progress;
    bar.ariaValueText = `${task.progress}% · ${outlook(task)}`;
    say(time, clock(elapsed(task)));
  }

  return { element: face, update, tick, video: () => video };
}

const small = (textContent) => element("small", { textContent });

function whyNoVideo(task, state) {
  if (state === "expired") return [small(words.expiredWhy)];
  if (state !== "failed") return [];
  return [reasonOf(task), small(task.error?.retryable ? words.retryHelps : words.retryWontHelp)];
}

function stepWord(task, state) {
  if (state === "archiving") return words.saving;
  return state === "submitting" && !task.queuePosition ? words.sending : words.waiting;
}

function makeVideo({ result }, source, isPlayer) {
  return element("video", {
    src: source,
    poster: result.thumbnailUrl ? pathOf(result.thumbnailUrl) : "",
    preload: "metadata",
    playsInline: true,
    loop: true,
    muted: !isPlayer,
    controls: isPlayer,
    autoplay: isPlayer && !calm.matches,
    tabIndex: isPlayer ? 0 : -1,
  });
}
