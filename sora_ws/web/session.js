/**
 * Who is signed in. Kept in this browser, and the same in all of its tabs.
 *
 * Fires `change` where somebody signed in or out, here or in another tab; `event.detail`
 * {reason} tells why: "lead" where it was wished for, "sessionOver" or "disabled" where not.
 */

const KEY = "sora-ws.session";

class Session extends EventTarget {
  #now = read();

  constructor() {
    super();
    addEventListener("storage", ({ key }) => {
      if (key === KEY || key === null) this.#take(read(), "lead");
    });
  }

  /** {token, expiresAt, userId, username, since}, or null; times in ms since the epoch. */
  get current() {
    return this.#now;
  }

  get token() {
    return this.#now?.token ?? null;
  }

  /** True in the second half of the token's life: time to ask for the next one. */
  get isAging() {
    const { since, expiresAt } = this.#now;
    return Date.now() - since > (expiresAt - since) / 2;
  }

  /** `login` is what the server answered to a login or a refresh. */
  begin({ token, expiresAt, userId, username }) {
    const now = { token, expiresAt, userId, username, since: Date.now() };
    localStorage.setItem(KEY, JSON.stringify(now));
    this.#take(now, "lead");
  }

  end(reason = "lead") {
    if (this.#now === null) return;
    localStorage.removeItem(KEY);
    this.#take(null, reason);
  }

  #take(next, reason) {
    const before = this.#now?.userId;
    this.#now = next;
    if (before === next?.userId) return;
    this.dispatchEvent(new CustomEvent("change", { detail: { reason } }));
  }
}

function read() {
  return JSON.parse(localStorage.getItem(KEY));
}

export const session = new Session();
