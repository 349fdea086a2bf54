/** Sends files, two at a time, and remembers which ones a reload interrupts. */
// @ts-check
import { Upload } from "./upload.js";

const AT_A_TIME = 2;
const GOING = ["waiting", "sending", "retrying"];
const KEY = "wavepress.sending";
/** @typedef {{ id: string, name: string, size: number, modified: number }} Interrupted */

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

// The tab's own storage: another tab must not go on with what this one sends.
function remember() {
  const open = uploads.filter((one) => one.id && [...GOING, "paused"].includes(one.state));
  const kept = open.map(({ id, file }) => ({ id, name: file.name, size: file.size, modified: file.lastModified }));
  sessionStorage.setItem(KEY, JSON.stringify([...kept, ...interrupted()]));
}

/** @returns {Interrupted[]} what this tab was sending before it was loaded again */
export function interrupted() {
  /** @type {Interrupted[]} */
  const all = JSON.parse(sessionStorage.getItem(KEY) ?? "[]");
  return all.filter(({ id }) => !uploads.some((upload) => upload.id === id));
}

/**
 * Return the id of the interrupted upload that a file belongs to, or "".
 * @param {File} file
 */
export const interruptedBy = (file) =>
  interrupted().find((one) => one.name === file.name && one.size === file.size && one.modified === file.lastModified)?.id ?? "";
