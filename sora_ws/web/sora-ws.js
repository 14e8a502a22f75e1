/**
 * The browser's line to sora-ws: one WebSocket for any number of tasks. No dependencies.
 *
 *     import { SoraWS } from "http://localhost:3001/sora-ws.js";
 *
 *     const sora = new SoraWS({ token: () => localStorage.getItem("token") });
 *     const stop = sora.watchTask("video_1f0c…", (update) => {
 *       if (update.type === "taskProgress") bar.value = update.progress;
 *       if (update.type === "taskCompleted") player.src = update.result.videoUrl;
 *       if (update.type === "taskFailed") note.textContent = update.error.details ?? update.error.message;
 *     });
 *
 * What it does by itself:
 * - comes back after a random time that grows (full jitter), subscribes again, and the server
 *   then tells the true state of each task, so nothing that happened meanwhile is lost;
 * - asks for the token at each connect, and for a newer one when the server says that it is
 *   about to end, so a page may stay open for days;
 * - notices a line that is dead though nobody closed it, and one that is back before its time;
 * - drops what is older than what it told already, except behind an answer to a subscribe:
 *   that state always counts.
 *
 * Events (`sora.addEventListener(name, …)`; what they carry is in `event.detail`):
 * - `state` {state, code}: see `SoraWS.state`; `code` is the close code that led there, or null
 * - `task` the update as given to `watchTask`, of every task that is watched by itself or by a room
 * - `heartbeat`, `stats` the payload of that message
 * - `error` {code, message, retryable, videoId?, room?} as the server refused something; or
 *   {code: "TOKEN_UNAVAILABLE", message, retryable} where the token function threw
 */

/** After these only a token that is not the refused one opens the line again. */
const NEW_TOKEN_NEEDED = new Set([4401, 4408, 4419]);

/** After these the same client would be sent away again for the same reason. */
const NEVER_AGAIN = new Set([1002, 1003, 1007, 1009, 1010, 4400, 4403]);

/** What the browser reports for a line that broke without a close frame. */
const BROKEN = 1006;

const PUSHES = new Set(["taskProgress", "taskCompleted", "taskFailed"]);

/** How long a line must have lasted before the waits start from the shortest again. */
const STEADY_MS = 5_000;

const DEFAULTS = {
  firstWaitMs: 1_000,
  longestWaitMs: 30_000,
  quietMs: 25_000,
  answerMs: 10_000,
};

export class SoraWS extends EventTarget {
  #url;
  #token;
  #timing;
  #listening = new AbortController();

  #state = "connecting";
  #socket = null;
  #attempt = 0;
  #tries = 0;
  #openSince = 0;
  #refusedToken = null;
  #sentToken = null;

  #waitTimer = 0;
  #quietTimer = 0;
  #againTimer = 0;

  /** "task video_…" or "room …" → {type, topic, answered, listeners} */
  #watches = new Map();
  /** videoId → the highest seq told on this line */
  #seqs = new Map();

  /**
   * Opens the line.
   *
   * @param {object} options
   * @param {string | ((why: string) => string | null | Promise<string | null>)} options.token
   *   The JWT, or a function that gives it; null means that there is none. `why` is "connect",
   *   "refused" where the last one was refused, or "expiring" a minute before its end.
   * @param {string} [options.url] Where to connect; by default `/ws` of the server that this file came from.
   * @param {number} [options.firstWaitMs] The first wait before coming back is random, below this.
   * @param {number} [options.longestWaitMs] Each further one may be twice as long, up to this.
   * @param {number} [options.quietMs] After so long without a message the server is pinged,
   * @param {number} [options.answerMs] and has so long to answer before the line counts as broken.
   */
  constructor({ token, url = serverOfThisFile(), ...timing }) {
    super();
    this.#url = url;
    this.#token = typeof token === "function" ? token : () => token;
    this.#timing = { ...DEFAULTS, ...timing };
    this.#listenToTheBrowser();
    this.#connect();
  }

  /**
   * - `connecting`: on the way, token not yet accepted
   * - `open`: accepted, pushes come
   * - `waiting`: broken, comes back by itself
   * - `tokenNeeded`: comes back by `connect()`, once the token function has another token
   * - `closed`: for good, by `close()` or because the server will not have this client
   */
  get state() {
    return this.#state;
  }

  /**
   * Tells every change of one task to `listener`, the current state first, until it has ended.
   * An update is the payload of the push with its `type`. Returns a function that stops it.
   */
  watchTask(videoId, listener) {
    return this.#watch(`task ${videoId}`, "subscribe_task", { videoId }, listener);
  }

  /**
   * Brings the pushes of a whole room, "user" (all my own tasks) or "team:NAME", as `task` events.
   * Returns a function that stops it.
   */
  watchRoom(room) {
    return this.#watch(`room ${room}`, "subscribe_room", { room }, () => {});
  }

  /** Asks the server for its numbers; they come as a `stats` event. */
  requestStats() {
    this.#send("get_stats");
  }

  /** Comes back now instead of later. Does nothing on an open line, nor after `close()`. */
  connect() {
    if (this.#state === "waiting" || this.#state === "tokenNeeded") this.#connect();
  }

  /** Ends the line for good. */
  close() {
    if (this.#state === "closed") return;
    this.#letGo();
    this.#enter("closed", null);
  }

  // --- the line ---

  async #connect() {
    const attempt = this.#letGo();
    this.#enter("connecting", null);
    const token = await this.#ask(this.#refusedToken === null ? "connect" : "refused");
    if (attempt !== this.#attempt) return;
    if (token === undefined) return this.#comeBackLater(null);
    if (token === null || token === this.#refusedToken) return this.#enter("tokenNeeded", null);
    this.#open(token);
  }

  #open(token) {
    const socket = new WebSocket(this.#url);
    this.#socket = socket;
    socket.onopen = () => this.#greet(token);
    socket.onmessage = ({ data }) => this.#receive(JSON.parse(data));
    socket.onclose = ({ code }) => this.#lost(code);
    this.#heard();
  }

  /** The server works in order, so the subscriptions need not wait for the token's check. */
  #greet(token) {
    this.#authenticate(token);
    for (const [key, watch] of this.#watches) this.#subscribe(key, watch);
  }

  #authenticate(token) {
    this.#sentToken = token;
    this.#send("auth", { token, batch: true });
  }

  #lost(code) {
    const lasted = this.#state === "open" ? Date.now() - this.#openSince : 0;
    if (lasted >= STEADY_MS) this.#tries = 0;
    this.#letGo();
    if (NEVER_AGAIN.has(code)) return this.#enter("closed", code);
    if (NEW_TOKEN_NEEDED.has(code)) this.#refusedToken = this.#sentToken;
    this.#comeBackLater(code);
  }

  #comeBackLater(code) {
    const { firstWaitMs, longestWaitMs } = this.#timing;
    const wait = Math.random() * Math.min(longestWaitMs, firstWaitMs * 2 ** this.#tries);
    this.#tries += 1;
    this.#waitTimer = setTimeout(() => this.#connect(), wait);
    this.#enter("waiting", code);
  }

  /** Forgets the present line, whatever becomes of it; returns the number of the next attempt. */
  #letGo() {
    clearTimeout(this.#waitTimer);
    clearTimeout(this.#quietTimer);
    clearTimeout(this.#againTimer);
    const socket = this.#socket;
    this.#socket = null;
    if (socket) drop(socket);
    this.#seqs.clear();
    for (const watch of this.#watches.values()) watch.answered = false;
    this.#attempt += 1;
    return this.#attempt;
  }

  #enter(state, code) {
    if (state === "closed") this.#listening.abort();
    this.#state = state;
    this.#emit("state", { state, code });
  }

  /** A token, null where there is none, undefined where nobody can tell now. */
  async #ask(why) {
    await null; // so that listeners added right behind the constructor hear of a failure
    try {
      return (await this.#token(why)) ?? null;
    } catch (error) {
      this.#emit("error", { code: "TOKEN_UNAVAILABLE", message: String(error), retryable: true });
      return undefined;
    }
  }

  async #renew() {
    const attempt = this.#attempt;
    const token = await this.#ask("expiring");
    if (token && attempt === this.#attempt) this.#authenticate(token);
  }

  // --- silence ---

  #heard() {
    clearTimeout(this.#quietTimer);
    this.#quietTimer = setTimeout(() => this.#probe(), this.#timing.quietMs);
  }

  #probe() {
    clearTimeout(this.#quietTimer);
    if (this.#socket?.readyState !== WebSocket.OPEN) return this.#lost(BROKEN);
    this.#send("ping");
    this.#quietTimer = setTimeout(() => this.#lost(BROKEN), this.#timing.answerMs);
  }

  /** A network that is back, or a page that is looked at again, is a reason to look at once. */
  #listenToTheBrowser() {
    const { signal } = this.#listening;
    const look = () => {
      if (this.#state === "waiting") this.#connect();
      else if (this.#state === "open") this.#probe();
    };
    globalThis.addEventListener("online", look, { signal });
    globalThis.addEventListener("offline", look, { signal });
    globalThis.document?.addEventListener(
      "visibilitychange",
      () => document.visibilityState === "visible" && look(),
      { signal },
    );
  }

  // --- what is watched ---

  #watch(key, type, topic, listener) {
    const watch = this.#watches.get(key) ?? { type, topic, answered: false, listeners: new Set() };
    const entry = { listener };
    watch.listeners.add(entry);
    this.#watches.set(key, watch);
    this.#subscribe(key, watch);
    return () => {
      watch.listeners.delete(entry);
      if (watch.listeners.size === 0 && this.#watches.get(key) === watch) this.#unwatch(key);
    };
  }

  #unwatch(key) {
    const { type, topic } = this.#watches.get(key);
    this.#watches.delete(key);
    this.#send(`un${type}`, topic);
  }

  #subscribe(key, watch) {
    watch.answered = false;
    this.#send(watch.type, watch.topic, key);
  }

  #subscribeUnanswered() {
    for (const [key, watch] of this.#watches) {
      if (!watch.answered) this.#subscribe(key, watch);
    }
  }

  #send(type, payload, id) {
    if (this.#socket?.readyState !== WebSocket.OPEN) return;
    this.#socket.send(JSON.stringify({ type, id, timestamp: Date.now(), payload }));
  }

  // --- what comes in ---

  #receive({ type, id, payload }) {
    this.#heard();
    if (PUSHES.has(type)) return this.#take(type, payload);
    switch (type) {
      case "taskBatch":
        return payload.updates.forEach((update) => this.#take(update.type, update.payload));
      case "authSuccess":
        return this.#accepted();
      case "subscribeSuccess":
        return this.#subscribed(id, payload);
      case "tokenExpiring":
        return this.#renew();
      case "error":
        return this.#refused(id, payload);
      case "heartbeat":
      case "stats":
        return this.#emit(type, payload);
    }
  }

  #accepted() {
    this.#refusedToken = null;
    if (this.#state === "open") return;
    this.#openSince = Date.now();
    this.#enter("open", null);
  }

  #subscribed(key, { videoId }) {
    const watch = this.#watches.get(key);
    if (watch) watch.answered = true;
    if (videoId) this.#seqs.delete(videoId);
    else this.#seqs.clear();
  }

  #refused(key, error) {
    const watch = this.#watches.get(key);
    this.#emit("error", { ...error, ...watch?.topic });
    if (error.retryable) {
      clearTimeout(this.#againTimer);
      this.#againTimer = setTimeout(() => this.#subscribeUnanswered(), error.retryAfterMs ?? 1_000);
    } else if (watch) {
      this.#watches.delete(key);
    }
  }

  #take(type, payload) {
    const { videoId, seq } = payload;
    if (seq <= this.#seqs.get(videoId)) return;
    this.#seqs.set(videoId, seq);
    const update = { type, ...payload };
    const key = `task ${videoId}`;
    const listeners = [...(this.#watches.get(key)?.listeners ?? [])];
    if (type !== "taskProgress" && this.#watches.has(key)) this.#unwatch(key);
    for (const { listener } of listeners) callSafely(listener, update);
    this.#emit("task", update);
  }

  #emit(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }
}

/** Closing a line that is still on its way would be noted as an error by the browser. */
function drop(socket) {
  socket.onmessage = socket.onclose = null;
  socket.onopen = () => socket.close();
  if (socket.readyState === WebSocket.OPEN) socket.close();
}

/** One listener's fault is reported like any uncaught error and costs the others nothing. */
function callSafely(listener, update) {
  try {
    listener(update);
  } catch (error) {
    reportError(error);
  }
}

function serverOfThisFile() {
  const url = new URL("/ws", import.meta.url);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  return url.href;
}
