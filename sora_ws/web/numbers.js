/** Numbers as people read them, the same in every language. */

/** Seconds as 0:07, 4:10 or 1:02:03. */
export function clock(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  const [h, m, s] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const pad = (n) => String(n).padStart(2, "0");
  return h ? `${h}:${pad(m)}:${pad(s)}` : `${m}:${pad(s)}`;
}

/** Bytes as millions of them, with one digit behind the point below ten. */
export function megabytes(bytes) {
  const n = bytes / 1e6;
  return n < 10 ? n.toFixed(1) : n.toFixed(0);
}

/** "1280x720" as width ÷ height; 16:9 where nobody has said. */
export function ratioOf(size) {
  const [width, height] = (size ?? "").split("x").map(Number);
  return width > 0 && height > 0 ? width / height : 16 / 9;
}

/** "1280x720" as people write it. */
export const shownSize = (size) => size.replace("x", "×");
