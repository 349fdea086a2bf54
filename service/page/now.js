/** Shows what is on its way: this page's own files, those that a reload interrupted, and uploads from elsewhere. */
// @ts-check
import { ask, link, wait } from "./api.js";
import { button, copy, get, h, say } from "./dom.js";
import { bytes, time } from "./format.js";
import { play } from "./player.js";
import { interrupted, isOurs } from "./queue.js";
import { add } from "./records.js";
import { t } from "./strings.js";
import { readToken } from "./token.js";
import { loadPicture, miniature } from "./waveform.js";

/**
 * @typedef {import("./upload.js").Upload} Upload
 * @typedef {{ id: string, filename: string, offset: number, length: number | null, duration: number,
 *   expected_duration: number | null }} Elsewhere
 */

const LOOK_SECONDS = 4;
/** @type {Map<string, HTMLElement>} */
const others = new Map();
/** Uploads that have ended: an answer that is older than their end may still list them. */
const ended = new Set();
/** The recording that this page makes. Its own panel ends it. */
let recordingId = "";
let choose = () => {};
const list = get("uploads");

new MutationObserver(() => { get("now").hidden = !list.children.length; }).observe(list, { childList: true });

/** @param {Upload} upload */
export function showUpload(upload) {
  const item = list.appendChild(h("li"));
  const show = () => {
    const { state, id, file, record, offset } = upload;
    if (state === "done" || state === "cancelled") item.remove();
    else if (state === "refused") fill(item, "", file.name, null, null, upload.problem, [dismiss(item)]);
    else fill(item, id, file.name, offset, file.size, textOf(upload), buttonsOf(upload));
    if (state !== "done" || !record) return;
    add(record);
    say(t.isReady(file.name));
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
  fill(item, "", name, null, null, problem, [dismiss(item)]);
}

/**
 * Look for uploads that this page does not send, again and again.
 * @param {() => void} chooseFiles
 */
export async function watchOthers(chooseFiles) {
  choose = chooseFiles;
  for (;; await wait(LOOK_SECONDS)) {
    if (readToken() && !document.hidden) await look().catch(() => null);
  }
}

/**
 * Show the recording that this page makes now.
 * @param {string} id "" when it has ended
 */
export function showRecording(id) {
  recordingId = id;
  look().catch(() => null);
}

/**
 * Take an upload that has ended off the list.
 * @param {string} id
 */
export function takeOff(id) {
  ended.add(id);
  others.get(id)?.remove();
  others.delete(id);
}

async function look() {
  /** @type {{ uploads: Elsewhere[] }} */
  const { uploads } = await (await ask("GET", "uploads")).json();
  const foreign = new Map(uploads.filter(({ id }) => !isOurs(id) && !ended.has(id)).map((one) => [one.id, one]));
  for (const { id, filename, offset, length, duration, expected_duration: expected } of foreign.values()) {
    const item = others.get(id) ?? list.appendChild(h("li"));
    others.set(id, item);
    const isInterrupted = interrupted().some((one) => one.id === id);
    fill(item, id, filename, offset, length, isInterrupted ? t.chooseAgain(filename) : t.elsewhere(time(duration)), [
      ...listening(id, filename, expected),
      ...(isInterrupted ? [button(t.choose, choose)] : []),
      ...(id === recordingId ? [] : [cross(t.cancelName(filename), () => cancel(id))]),
    ]);
  }
  for (const { id } of uploads) {
    /** @type {HTMLImageElement | null} */
    const picture = list.querySelector(`[data-key^="${id}"] img`);
    if (picture) loadPicture(picture, id, Date.now());
  }
  for (const [id, item] of others) {
    if (foreign.has(id)) continue;
    item.remove();
    others.delete(id);
    if (!isOurs(id)) ask("GET", `records/${id}`).then(async (answer) => add(await answer.json()), () => null);
  }
}

/** @param {string} id */
async function cancel(id) {
  try {
    await ask("DELETE", `uploads/${id}`);
    takeOff(id);
  } catch (error) {
    say(/** @type {Error} */ (error).message);
  }
}

/**
 * The elements stay the same as long as the buttons do, so that they keep the focus.
 * @param {HTMLElement} item
 * @param {string} id what can be heard, or ""
 * @param {string} name
 * @param {number | null} offset null: there is nothing to measure
 * @param {number | null} length
 * @param {string} text
 * @param {HTMLElement[]} buttons
 */
function fill(item, id, name, offset, length, text, buttons) {
  const key = [id, ...buttons.map((one) => one.textContent)].join();
  if (item.dataset.key !== key) {
    item.dataset.key = key;
    item.replaceChildren(h("span", { class: "name" }, name), h("progress", { max: 1, "aria-label": name }),
      h("span", { class: "facts" }), h("span", { class: "actions" }, ...buttons));
    if (id) item.children[0].after(miniature(id, () => buttons[0].click(), Date.now()));
  }
  const bar = /** @type {HTMLProgressElement} */ (item.querySelector("progress"));
  bar.hidden = offset === null;
  if (length && offset !== null) bar.value = offset / length;
  /** @type {HTMLElement} */ (bar.nextElementSibling).textContent = text;
}

/** @param {Upload} upload */
function textOf({ state, problem, offset, file, rate }) {
  if (state === "waiting") return t.waiting(bytes(file.size));
  const done = t.sent(Math.floor((100 * offset) / file.size), bytes(offset), bytes(file.size));
  if (state === "paused") return `${done}, ${t.paused}`;
  if (state === "retrying") return `${done}. ${problem} ${t.retrying}`;
  if (offset >= file.size) return `${done}, ${t.finishing}`;
  return rate ? `${done}, ${t.left(bytes(rate), time(Math.ceil((file.size - offset) / rate)))}` : done;
}

/** @param {Upload} upload */
function buttonsOf(upload) {
  const { state, id, file } = upload;
  const pause = state === "paused" ? button(t.resume, () => upload.become("waiting")) : button(t.pause, () => upload.pause());
  return [...(id ? listening(id, file.name, null) : []), pause, cross(t.cancelName(file.name), () => upload.cancel())];
}

/**
 * The buttons of what can be heard already.
 * @param {string} id
 * @param {string} filename
 * @param {number | null} duration
 */
const listening = (id, filename, duration) => [
  button("▶", () => play({ id, filename, duration, isLive: true }), t.playName(filename)),
  button(t.copyLink, () => copy(link(id))),
];

/**
 * @param {string} label
 * @param {() => unknown} act
 */
const cross = (label, act) => button("✕", act, label);

/** @param {HTMLElement} item */
const dismiss = (item) => cross(t.dismiss, () => item.remove());
