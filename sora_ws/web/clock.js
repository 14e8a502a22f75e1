/** The server's time, so that a machine whose clock is wrong still counts elapsed time right. */

let offset = 0;

/** `date` is an answer's Date header, which has whole seconds: smaller differences are none. */
export function syncClock(date) {
  const difference = Date.parse(date) - Date.now();
  if (Number.isNaN(difference)) return;
  offset = Math.abs(difference) > 2_000 ? difference : 0;
}

/** ms since the epoch, as the server counts. */
export const now = () => Date.now() + offset;
