/** Shows what is on its way: this page's own files here, and how a row of the list looks. */
// @ts-check
import { link } from "./api.js";
import { button, copy, get, h, say } from "./dom.js";
import { bytes, time } from "./format.js";
import { play } from "./player.js";
import { add, drop, focusOn } from "./records.js";
import { t } from "./strings.js";
import { miniature } from "./waveform.js";

/**
 * @typedef {import("./upload.js").Stored} Stored
 * @typedef {import("./upload.js").Upload} Upload
 */

const list = get("uploads");

new MutationObserver(() => { get("now").hidden = !list.children.length; }).observe(list, { childList: true });

/** Add an empty row. */
export const appendItem = () => list.appendChild(h("li"));

/** @param {Upload} upload */
export function showUpload(upload) {
  const item = appendItem();
  const show = () => {
    const { state, id, file, record, offset } = upload;
    if (state === "done" && record) {
      showKept(file.name, record, item);
      if (upload.problem) showProblem(file.name, upload.problem);
    }
    if (state === "done") for (const part of upload.parts.splice(0)) drop(part);
    if (state === "done" || state === "cancelled") item.remove();
    else if (state === "refused") fill(item, "", file.name, null, null, upload.problem, [dismiss(item)]);
    else fill(item, id, file.name, offset, file.size, textOf(upload), buttonsOf(upload));
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
  const item = appendItem();
  fill(item, "", name, null, null, problem, [dismiss(item)]);
}

/**
 * Put the record of an upload into the list, in place of its row; if it is not whole, say why.
 * @param {string} name
 * @param {Stored} record
 * @param {HTMLElement} item
 */
export function showKept(name, record, item) {
  add(record);
  if (item.contains(document.activeElement)) focusOn(record.id);
  say(record.complete ? t.isReady(name) : t.isKept(name));
  const codes = record.warnings.map(({ code }) => code);
  const cut = !codes.includes("interrupted") && codes.find((code) => t.cutBecause[code]);
  if (cut) showProblem(name, t.cutBecause[cut]);
}

/**
 * The elements stay the same as long as the buttons do. A button that takes another one's place takes its focus.
 * @param {HTMLElement} item
 * @param {string} id what can be heard, or ""
 * @param {string} name
 * @param {number | null} offset null: there is nothing to measure
 * @param {number | null} length
 * @param {string} text
 * @param {HTMLElement[]} buttons
 */
export function fill(item, id, name, offset, length, text, buttons) {
  const key = [id, ...buttons.map((one) => one.textContent)].join();
  if (item.dataset.key !== key) {
    const focused = [...item.querySelectorAll("button")].findIndex((one) => one === document.activeElement);
    item.dataset.key = key;
    item.replaceChildren(h("span", { class: "name" }, name), h("progress", { max: 1, "aria-label": name }),
      h("span", { class: "facts" }), h("span", { class: "actions" }, ...buttons));
    if (id) item.children[0].after(miniature(id, () => buttons[0].click(), Date.now()));
    buttons[focused]?.focus();
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
  const isPaused = state === "paused";
  const pause = isPaused ? button(t.resume, () => upload.become("waiting")) : button(t.pause, () => upload.pause());
  const keep = () => upload.keep().catch((error) => say(error.message));
  return [...(id ? listening(id, file.name, null) : []), pause, ...(isPaused && id ? [button(t.keep, keep)] : []),
    cross(t.cancelName(file.name), () => upload.cancel())];
}

/**
 * The buttons of what can be heard already.
 * @param {string} id
 * @param {string} filename
 * @param {number | null} duration
 */
export const listening = (id, filename, duration) => [
  button("▶", () => play({ id, filename, duration, isLive: true }), t.playName(filename)),
  button(t.copyLink, () => copy(link(id))),
];

/**
 * @param {string} label
 * @param {() => unknown} act
 */
export const cross = (label, act) => button("✕", act, label);

/** @param {HTMLElement} item */
const dismiss = (item) => cross(t.dismiss, () => item.remove());
