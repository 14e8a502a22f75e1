/** A server's refusal as two lines for people: what it means here, and what the server said. */

import { words } from "./words.js";

const SENTENCES = {
  0: () => words.unreachable,
  403: () => words.forbidden,
  404: () => words.gone,
  409: () => words.endedAlready,
  413: () => words.tooBig,
  422: () => words.notAccepted,
  429: (error) => words.tooMany(error.retryAfter),
  503: (error) => words.away(error.retryAfter),
  507: () => words.full,
};

/** @param {import("./api.js").ApiError} error */
export function sentenceOf(error) {
  return (SENTENCES[error.status] ?? (() => words.broken(error.status)))(error);
}

/** The server's own words: of each field where it names some, else of the whole; may be empty. */
export function detailOf(error) {
  if (error.fields.length === 0) return error.detail ?? "";
  return error.fields.map(({ field, message }) => `${field}: ${message}`).join("\n");
}

/** Shows both lines in `target`. */
export function showProblem(target, error) {
  target.replaceChildren(sentenceOf(error));
  const detail = detailOf(error);
  if (!detail) return;
  const small = document.createElement("small");
  small.textContent = detail;
  target.append(small);
}
