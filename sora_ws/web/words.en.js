import { clock, megabytes } from "./numbers.js";

const ordinals = new Intl.PluralRules("en", { type: "ordinal" });
const endings = { one: "st", two: "nd", few: "rd", other: "th" };
const date = new Intl.DateTimeFormat("en", { dateStyle: "medium", timeStyle: "short" });

const soon = (seconds) => (seconds ? `in ${seconds} s` : "in a moment");

export const english = {
  tag: "en",
  otherLanguage: { tag: "zh-CN", name: "中文" },

  // Who you are
  welcome: "Welcome",
  lead: "From a prompt to a video, and always clear how far it is.",
  username: "Username",
  password: "Password",
  signIn: "Sign in",
  signingIn: "Signing in",
  signOut: "Sign out",
  sessionOver: "Your session has ended. Sign in again to go on; videos under way carry on without you.",
  disabled: "This account has been switched off. Ask whoever runs this server.",
  wrongLogin: "That username and password don’t go together.",
  loginMissing: "Both are needed.",
  firstTime: "First time here? The server printed a password for admin when it first started.",

  // Header
  connecting: "Connecting",
  connected: "Connected",
  reconnecting: "Reconnecting",
  disconnected: "Disconnected. Reload the page to connect again.",
  offline: "Offline",
  theme: { auto: "Theme: as the system", light: "Theme: light", dark: "Theme: dark" },
  simulator:
    "These are test pictures from the built-in simulator. SORA_API_BASE_URL sets a real video service.",

  // Composer
  promptHint: "Describe a video: the scene, the camera, the light",
  generate: "Generate",
  model: "Model",
  defaultModel: "Default model",
  otherModel: "Other…",
  size: "Size",
  shapes: { landscape: "Landscape", portrait: "Portrait", wide: "Wide", tall: "Tall" },
  length: "Length",
  seconds: (n) => `${n} s`,
  image: "Image",
  imageHint: "An image to start from: pick one, drop it here or paste it",
  dropHere: "Drop the image here",
  notAnImage: "Only JPEG, PNG and WebP images can be used.",
  promptMissing: "Write what the video should show.",
  startWith: "Start with one of these",
  examples: [
    "A paper boat drifts down a rainy street at night, neon mirrored in the water, slow tracking shot",
    "Close-up of a watchmaker’s hands setting a tiny gear, warm lamp, dust in the light",
    "Morning fog rolls over terraced rice fields, a lone egret takes off, seen from a drone",
  ],
  question: "What should the video show?",

  // Cards
  progress: "Progress",
  sending: "Sending",
  waiting: "Waiting",
  rendering: "Rendering",
  saving: "Saving",
  inLine: (n) => (n === 1 ? "Next in line" : `${n}${endings[ordinals.select(n)]} in line`),
  notBegun: "Not begun yet",
  left(seconds) {
    if (seconds < 10) return "A few seconds left";
    if (seconds < 60) return `About ${Math.round(seconds / 5) * 5} s left`;
    return `About ${Math.round(seconds / 60)} min left`;
  },
  almostThere: "Almost there",
  overdue: (seconds) => `Taking longer than usual (${clock(seconds)})`,
  failed: "Failed",
  cancelled: "Cancelled",
  expired: "No longer stored",
  expiredWhy: "The video had to make room for newer ones.",
  reasons: {
    GENERATION_FAILED: "The video could not be made.",
    MODERATION_BLOCKED: "The content check did not let this through.",
    PROVIDER_REJECTED: "The video service refused this.",
    PROVIDER_LOST_TASK: "The video service lost track of this one.",
  },
  retryHelps: "Trying again may help.",
  retryWontHelp: "Trying again as it is won’t help; change the words first.",
  cancel: "Cancel",
  retry: "Retry",
  delete: "Delete",
  download: "Download",

  // Detail
  close: "Close",
  copy: "Copy",
  copied: "Copied",
  change: "Run again with changes",
  facts: {
    model: "Model",
    size: "Size",
    length: "Length",
    file: "File",
    waited: "Waited",
    rendered: "Rendered in",
    asked: "Asked for",
  },
  megabytes: (bytes) => `${megabytes(bytes)} MB`,
  duration: (seconds) => (seconds < 60 ? `${seconds} s` : clock(seconds)),

  // Notes
  deleted: "Deleted",
  undo: "Undo",
  started: (prompt) => `Started: ${prompt}`,
  ready: (prompt) => `Ready to play: ${prompt}`,
  ended: (prompt) => `Ended without a video: ${prompt}`,
  unreachable: "The server can’t be reached. Nothing you wrote is lost.",
  tooMany: (seconds) => `That was too much at once. Try again ${soon(seconds)}.`,
  tooBig: "That is too large for this server; a smaller image will do.",
  notAccepted: "The server does not accept this.",
  gone: "That one is no longer there.",
  endedAlready: "That one has ended already.",
  forbidden: "You may not do that.",
  away: (seconds) => `The server can’t do that just now. Try again ${soon(seconds)}.`,
  full: "The server has no room left for videos.",
  broken: (status) => `Something went wrong on the server (${status}).`,

  ago(seconds) {
    if (seconds < 60) return "just now";
    if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
    if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ago`;
    return `${Math.floor(seconds / 86400)} d ago`;
  },
  at: (ms) => date.format(ms),
};
