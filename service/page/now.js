/** Shows what is on its way: this page's own files, those that a reload interrupted, and uploads from elsewhere. */
// @ts-check
import { ask, wait } from "./api.js";
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
 *   expected_duration: number | null }} Elsewhere
 */

const LOOK_SECONDS = 4;
/** @type {Map<string, HTMLElement>} */
const others = new Map();
const list = get("uploads");

new MutationObserver(() => { get("now").hidden = !list.children.length; }).observe(list, { childList: true });

/** @param {Upload} upload */
export function showUpload(upload) {
  const item = list.appendChild(h("li"));
  const show = () => {
    const { state, file, record, offset } = upload;
    if (state === "done" || state === "cancelled") item.remove();
    else fill(item, file.name, state === "refused" ? null : offset, file.size, textOf(upload), buttonsOf(upload, item));
    if (state !== "done" || !record) return;
    add(record);
    say(strings.isReady(file.name));
  };
  upload.addEventListener("change", show);
  show();
}

/**
 * Say why a file is not sent.
 * @param {string} name
 * @param {string} problem
 */
export function showProblem(name, problem) {
  const item = list.appendChild(h("li"));
  fill(item, name, null, null, problem, [dismiss(item)]);
}

/**
 * Look for uploads that this page does not send, again and again.
 * @param {() => void} choose
 */
export async function watchOthers(choose) {
  for (;; await wait(LOOK_SECONDS)) {
    if (readToken() && !document.hidden) await look(choose).catch(() => null);
  }
}

/** @param {() => void} choose */
async function look(choose) {
  /** @type {{ uploads: Elsewhere[] }} */
  const { uploads } = await (await ask("GET", "uploads")).json();
  const foreign = new Map(uploads.filter((one) => !isOurs(one.id)).map((one) => [one.id, one]));
  for (const { id, filename, offset, length, duration, expected_duration: expected } of foreign.values()) {
    const item = others.get(id) ?? list.appendChild(h("li"));
    others.set(id, item);
    const isInterrupted = interrupted().some((one) => one.id === id);
    fill(item, filename, offset, length, isInterrupted ? strings.chooseAgain(filename) : strings.elsewhere(time(duration)), [
      listen(id, filename, expected),
      ...(isInterrupted ? [button(strings.choose, choose)] : []),
      cross(strings.cancelName(filename), () => ask("DELETE", `uploads/${id}`).catch((error) => say(error.message))),
    ]);
  }
  let hasEnded = false;
  for (const [id, item] of others) {
    if (foreign.has(id)) continue;
    item.remove();
    others.delete(id);
    hasEnded ||= !isOurs(id);
  }
  if (hasEnded) await reload();
}

/**
 * The buttons stay the same elements as long as their labels do, so that they keep the focus.
 * @param {HTMLElement} item
 * @param {string} name
 * @param {number | null} offset null: there is nothing to measure
 * @param {number | null} length
 * @param {string} text
 * @param {HTMLElement[]} buttons
 */
function fill(item, name, offset, length, text, buttons) {
  const key = buttons.map((one) => one.textContent).join();
  if (item.dataset.key !== key) {
    item.dataset.key = key;
    item.replaceChildren(h("span", { class: "name" }, name), h("progress", { max: 1, "aria-label": name }),
      h("span", { class: "facts" }), h("span", { class: "actions" }, ...buttons));
  }
  const [, bar, facts] = item.children;
  if (length && offset !== null) bar.setAttribute("value", String(offset / length));
  /** @type {HTMLElement} */ (bar).hidden = offset === null;
  facts.textContent = text;
}

/** @param {Upload} upload */
function textOf({ state, problem, offset, file, rate }) {
  if (state === "refused") return problem;
  if (state === "waiting") return strings.waiting(bytes(file.size));
  const done = strings.sent(Math.floor((100 * offset) / file.size), bytes(offset), bytes(file.size));
  if (state === "paused") return `${done}, ${strings.paused}`;
  if (state === "retrying") return `${done}. ${problem} ${strings.retrying}`;
  if (offset >= file.size) return `${done}, ${strings.finishing}`;
  return rate ? `${done}, ${strings.left(bytes(rate), time(Math.ceil((file.size - offset) / rate)))}` : done;
}

/**
 * @param {Upload} upload
 * @param {HTMLElement} item
 */
function buttonsOf(upload, item) {
  const { state, id, file } = upload;
  if (state === "refused") return [dismiss(item)];
  const cancel = cross(strings.cancelName(file.name), () => upload.cancel());
  if (state === "paused") return [button(strings.resume, () => upload.become("waiting")), cancel];
  const pause = button(strings.pause, () => upload.pause());
  return id && state === "sending" ? [listen(id, file.name, null), pause, cancel] : [pause, cancel];
}

/**
 * @param {string} id
 * @param {string} filename
 * @param {number | null} duration
 */
const listen = (id, filename, duration) =>
  button("▶", () => play({ id, filename, duration, isLive: true }), { "aria-label": strings.playName(filename) });

/**
 * @param {string} label
 * @param {() => unknown} act
 */
const cross = (label, act) => button("✕", act, { "aria-label": label });

/** @param {HTMLElement} item */
const dismiss = (item) => cross(strings.dismiss, () => item.remove());
