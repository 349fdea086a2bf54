/** Sends files, two at a time, and remembers which ones the end of a tab interrupts. */
// @ts-check
import { ask } from "./api.js";
import { readToken } from "./token.js";
import { Upload } from "./upload.js";

const AT_A_TIME = 2;
const GOING = ["waiting", "sending", "retrying"];
const KEY = "wavepress.sending";
/** @typedef {{ id: string, name: string, size: number, modified: number, isLeft: boolean }} Sent isLeft: its tab is gone */

let isLeft = false;
/** @type {Upload[]} */
const uploads = [];

/** @param {Upload} upload */
export function enqueue(upload) {
  uploads.push(upload);
  upload.addEventListener("change", () => {
    remember();
    if (upload.state !== "sending") next();
  });
  next();
}

/** Whether something is being sent, or about to be. */
export const isBusy = () => uploads.some((one) => GOING.includes(one.state));

/** @param {string} id */
export const isOurs = (id) => uploads.some((one) => one.id === id && !["cancelled", "refused"].includes(one.state));

function next() {
  const going = uploads.filter((one) => GOING.includes(one.state));
  const waiting = going.filter((one) => one.state === "waiting");
  const free = AT_A_TIME - going.length + waiting.length;
  for (const upload of waiting.slice(0, Math.max(0, free))) void upload.run();
}

// All tabs have one list, so that a file can be gone on with after its tab was closed.
function remember(others = remembered()) {
  const open = uploads.filter((one) => one.id && [...GOING, "paused"].includes(one.state));
  const kept = open.map(({ id, file }) => ({ id, name: file.name, size: file.size, modified: file.lastModified, isLeft }));
  const all = [...kept, ...others];
  if (all.length) localStorage.setItem(KEY, JSON.stringify(all));
  else localStorage.removeItem(KEY);
}

/** @returns {Sent[]} what other tabs send, and what tabs that are gone were sending */
export function remembered() {
  /** @type {Sent[]} */
  let all = [];
  try {
    all = [JSON.parse(localStorage.getItem(KEY) ?? "[]")].flat();
  } catch { /* somebody else's */ }
  return all.filter((one) => one?.id && !uploads.some(({ id }) => id === one.id));
}

/**
 * Forget what has ended.
 * @param {string[]} ids of uploads under way
 */
export const forgetOthers = (ids) => remember(remembered().filter(({ id }) => ids.includes(id)));

/**
 * Return the id of the interrupted upload that a file belongs to, or "".
 * @param {File} file
 */
export async function interruptedBy({ name, size, lastModified }) {
  const found = remembered().find((one) => one.name === name && one.size === size && one.modified === lastModified);
  if (!found || found.isLeft) return found?.id ?? "";
  // Its tab may have crashed, or still send.
  const upload = await ask("GET", `uploads/${found.id}`).then((answer) => answer.json(), () => null);
  return upload?.state === "suspended" ? found.id : "";
}

document.addEventListener("accountchange", () => { if (!readToken()) forgetOthers([]); });
addEventListener("pagehide", () => leave(true));
addEventListener("pageshow", () => leave(false));

/** @param {boolean} isLeaving */
function leave(isLeaving) {
  isLeft = isLeaving;
  remember();
}
