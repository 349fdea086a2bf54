/** Shows what is on its way: this page's own files, those that a reload interrupted, and uploads from elsewhere. */
// @ts-check
import { ask } from "./api.js";
import { button, get, h, say } from "./dom.js";
import { bytes, time } from "./format.js";
import { play } from "./player.js";
import { interrupted, isOurs } from "./queue.js";
import { add, reload } from "./records.js";
import { strings } from "./strings.js";
import { readToken } from "./token.js";

/**
 * @typedef {import("./upload.js").Upload} Upload
 * @typedef {{ id: string, filename: string, offset: number, length: number | null, duration: number,
 *   expected_duration: number | null, state: string }} Elsewhere
 */

const LOOK_SECONDS = 4;
/** @type {Map<string, HTMLElement>} */
const others = new Map();

/** @param {Upload} upload */
export function showUpload(upload) {
  const item = h("li");
  const show = () => {
    if (upload.state === "done" || upload.state === "cancelled") item.remove();
    else refill(item, upload.file.name, upload.offset, upload.file.size, textOf(upload), buttonsOf(upload, item));
    if (upload.state === "done" && upload.record) {
      add(upload.record);
      say(strings.ready(upload.file.name));
    }
    showHeading();
  };
  upload.addEventListener("change", show);
  get("uploads").append(item);
  show();
}

/**
 * Say why a file is not sent.
 * @param {string} name
 * @param {string} problem
 */
export function showProblem(name, problem) {
  const item = h("li");
  refill(item, name, null, null, problem, [dismiss(item)]);
  get("uploads").append(item);
  showHeading();
}

/** Look for uploads that this page does not send, again and again. @param {() => void} choose */
export async function watchOthers(choose) {
  for (;;) {
    if (readToken() && !document.hidden) await lookForOthers(choose).catch(() => null);
    await new Promise((resolve) => setTimeout(resolve, LOOK_SECONDS * 1000));
  }
}

/** @param {() => void} choose */
async function lookForOthers(choose) {
  /** @type {{ uploads: Elsewhere[] }} */
  const { uploads } = await (await ask("GET", "uploads")).json();
  const foreign = uploads.filter((one) => !isOurs(one.id));
  for (const one of foreign) {
    const item = others.get(one.id) ?? h("li");
    const isInterrupted = interrupted().some(({ id }) => id === one.id);
    const text = isInterrupted ? strings.chooseAgain(one.filename) : strings.elsewhere(time(one.duration));
    const playable = { id: one.id, filename: one.filename, duration: one.expected_duration, isLive: true };
    refill(item, one.filename, one.offset, one.length, text, [
      button("▶", () => play(playable), { "aria-label": strings.playName(one.filename) }),
      ...(isInterrupted ? [button(strings.choose, choose)] : []),
      button("✕", () => ask("DELETE", `uploads/${one.id}`).then(() => item.remove(), (error) => say(error.message)), { "aria-label": strings.cancelName(one.filename) }),
    ]);
    if (!others.has(one.id)) get("uploads").append(item);
    others.set(one.id, item);
  }
  let hasEnded = false;
  for (const [id, item] of others) {
    if (foreign.some((one) => one.id === id)) continue;
    item.remove();
    others.delete(id);
    hasEnded ||= !isOurs(id);
  }
  if (hasEnded) await reload();
  showHeading();
}

function showHeading() {
  get("now").hidden = !get("uploads").children.length;
}

/**
 * The buttons stay the same elements while their labels do, so that they keep the focus.
 * @param {HTMLElement} item
 * @param {string} name
 * @param {number | null} offset
 * @param {number | null} length
 * @param {string} text
 * @param {HTMLElement[]} buttons
 */
function refill(item, name, offset, length, text, buttons) {
  const key = buttons.map((one) => one.ariaLabel ?? one.textContent).join();
  if (item.dataset.key !== key) {
    const bar = h("progress", { max: 1, "aria-label": name });
    item.replaceChildren(h("span", { class: "name" }, name), bar, h("span", { class: "facts" }), h("span", { class: "actions" }, ...buttons));
    item.dataset.key = key;
  }
  const bar = /** @type {HTMLProgressElement} */ (item.querySelector("progress"));
  bar.hidden = offset === null;
  if (length) bar.value = (offset ?? 0) / length;
  else bar.removeAttribute("value");
  /** @type {Element} */ (item.querySelector(".facts")).textContent = text;
}

/** @param {Upload} upload */
function textOf(upload) {
  const { state, problem, offset, file, rate } = upload;
  if (state === "refused") return problem;
  if (state === "waiting") return strings.waiting(bytes(file.size));
  const done = strings.sent(Math.floor((100 * offset) / file.size), bytes(offset), bytes(file.size));
  if (state === "paused") return `${done} · ${strings.paused}`;
  if (state === "retrying") return `${done} · ${problem} ${strings.retrying}`;
  if (offset >= file.size) return `${done} · ${strings.finishing}`;
  return rate ? `${done} · ${strings.left(bytes(rate), time(Math.ceil((file.size - offset) / rate)))}` : done;
}

/**
 * @param {Upload} upload
 * @param {HTMLElement} item
 */
function buttonsOf(upload, item) {
  const { state, file } = upload;
  if (state === "refused") return [dismiss(item)];
  const cancel = button("✕", () => upload.cancel(), { "aria-label": strings.cancelName(file.name) });
  if (state === "paused") return [button(strings.resume, () => upload.become("waiting")), cancel];
  const listen = upload.id && state === "sending"
    ? [button("▶", () => play({ id: upload.id, filename: file.name, duration: null, isLive: true }), { "aria-label": strings.playName(file.name) })]
    : [];
  return [...listen, button(strings.pause, () => upload.pause()), cancel];
}

/** @param {HTMLElement} item */
const dismiss = (item) => button("✕", () => { item.remove(); showHeading(); }, { "aria-label": strings.dismiss });
