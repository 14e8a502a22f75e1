/** The bar's movement between two pushes: the only thing on the page that is guessed. */

/** 100 belongs to a video that can be played. */
const MOST = 99;

/** The server looks at a healthy task at least so often, so the next push can't be further away. */
const NEXT_PUSH_S = 30;

/**
 * Where the bar stands, 0–99.
 *
 * It starts with the speed that the server's estimate gives and slows down on its way to the
 * end, so it comes near it and never arrives; it never goes back behind `shown`.
 *
 * @param {{progress: number, estimatedTimeRemaining: number | null}} said what the server said last
 * @param {number} since seconds since then
 * @param {number} shown where the bar stands already
 */
export function barAt({ progress, estimatedTimeRemaining }, since, shown) {
  const ahead = Math.min(since, NEXT_PUSH_S);
  const left = estimatedTimeRemaining > 0 ? Math.exp(-ahead / estimatedTimeRemaining) : 1;
  return Math.min(MOST, Math.max(shown, MOST - (MOST - Math.min(progress, MOST)) * left));
}
