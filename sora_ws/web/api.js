/**
 * The REST calls that the page makes. Each gives the answer's body, or throws an `ApiError`.
 */

import { syncClock } from "./clock.js";
import { session } from "./session.js";

/** What the server answered instead of the thing that was asked for; status 0: nothing came. */
export class ApiError extends Error {
  /**
   * @param {number} status HTTP status, 0 where the server can't be reached
   * @param {{detail?: string, errors?: {field: string, message: string}[]}} problem RFC 9457
   * @param {number | null} retryAfter seconds the server asks to be left alone
   */
  constructor(status, problem = {}, retryAfter = null) {
    super(problem.detail ?? problem.title ?? `HTTP ${status}`);
    this.status = status;
    this.detail = problem.detail ?? null;
    this.fields = problem.errors ?? [];
    this.retryAfter = retryAfter;
  }
}

export const signIn = (username, password) =>
  call("POST", "api/auth/login", { json: { username, password }, anonymous: true });

export const refresh = () => call("POST", "api/auth/refresh");

/**
 * @param {{prompt: string, model?: string, seconds?: number, size?: string}} order
 * @param {File | null} image
 * @param {string} key the same for each try of one order, so that it becomes one task
 */
export const createVideo = (order, image, key) =>
  call("POST", "api/videos", { ...(image ? { form: formOf(order, image) } : { json: order }), key });

export const listVideos = (cursor = null, limit = 24) =>
  call("GET", `api/videos?${new URLSearchParams(cursor ? { limit, cursor } : { limit })}`);

export const getVideo = (id) => call("GET", `api/videos/${id}`);

export const cancelVideo = (id) => call("POST", `api/videos/${id}/cancel`);

export const retryVideo = (id) => call("POST", `api/videos/${id}/retry`, { json: {} });

export const deleteVideo = (id) => call("DELETE", `api/videos/${id}`, { keepalive: true });

async function call(method, path, { json, form, key, anonymous = false, keepalive = false } = {}) {
  const token = anonymous ? null : session.token;
  const headers = new Headers({ Accept: "application/json" });
  if (token) headers.set("Authorization", `Bearer ${token}`);
  if (json) headers.set("Content-Type", "application/json");
  if (key) headers.set("Idempotency-Key", key);
  const response = await send(path, { method, headers, body: json ? JSON.stringify(json) : form, keepalive });
  syncClock(response.headers.get("Date"));
  if (response.ok) return response.status === 204 ? null : response.json();
  if (response.status === 401 && token && token === session.token) session.end("sessionOver");
  throw await problemOf(response);
}

async function send(path, init) {
  try {
    return await fetch(path, init);
  } catch (error) {
    if (error instanceof TypeError) throw new ApiError(0);
    throw error;
  }
}

/** A proxy in between may answer with a page of its own instead of a problem. */
async function problemOf(response) {
  const isProblem = response.headers.get("Content-Type")?.includes("json");
  const retryAfter = Number.parseInt(response.headers.get("Retry-After"), 10);
  return new ApiError(
    response.status,
    isProblem ? await response.json() : {},
    Number.isNaN(retryAfter) ? null : retryAfter,
  );
}

function formOf(order, image) {
  const form = new FormData();
  for (const [name, value] of Object.entries(order)) form.set(name, value);
  form.set("inputReference", image, image.name);
  return form;
}
