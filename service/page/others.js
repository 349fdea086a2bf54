/** Shows the uploads that this page does not send: from elsewhere, of a page that was closed, and its own recording. */
// @ts-check
import { ask, wait } from "./api.js";
import { button, say } from "./dom.js";
import { time } from "./format.js";
import { appendItem, cross, fill, listening, showKept } from "./now.js";
import { forgetOthers, isOurs, remembered } from "./queue.js";
import { add } from "./records.js";
import { t } from "./strings.js";
import { readToken } from "./token.js";
import { keep } from "./upload.js";
import { loadPicture } from "./waveform.js";

/**
 * @typedef {{ id: string, filename: string, state: string, offset: number, length: number | null, duration: number,
 *   expected_duration: number | null, keeps_incomplete: boolean }} Elsewhere
 */

const LOOK_SECONDS = 4;
/** @type {Map<string, HTMLElement>} */
const others = new Map();
/** Uploads that have ended: an answer that is older than their end may still list them. */
const ended = new Set();
/** The recording that this page makes. Its own panel ends it. */
let recordingId = "";
let choose = () => {};

/**
 * Look for such uploads again and again.
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
  forgetOthers(uploads.map(({ id }) => id));
  for (const one of foreign.values()) {
    const item = others.get(one.id) ?? appendItem();
    others.set(one.id, item);
    show(item, one);
  }
  for (const { id } of uploads) {
    /** @type {HTMLImageElement | null} */
    const picture = document.querySelector(`[data-key^="${id}"] img`);
    if (picture) loadPicture(picture, id, Date.now());
  }
  for (const [id, item] of others) {
    if (foreign.has(id)) continue;
    item.remove();
    others.delete(id);
    if (!isOurs(id)) ask("GET", `records/${id}`).then(async (answer) => add(await answer.json()), () => null);
  }
}

/**
 * @param {HTMLElement} item
 * @param {Elsewhere} upload
 */
function show(item, { id, filename, state, offset, length, duration, expected_duration: expected, keeps_incomplete: isKeeping }) {
  const isHere = id === recordingId;
  const file = remembered().find((one) => one.id === id);
  const isInterrupted = !isHere && (file?.isLeft || state === "suspended");
  const broken = file ? t.chooseAgain(filename) : t.interrupted(time(duration));
  const cancel = () => end(id, () => ask("DELETE", `uploads/${id}`));
  const isMoving = length || !isInterrupted;
  fill(item, id, filename, isMoving ? offset : null, length, isInterrupted ? broken : t.elsewhere(time(duration)), [
    ...listening(id, filename, expected),
    ...(isInterrupted && file ? [button(t.choose, choose)] : []),
    ...(isInterrupted && isKeeping && duration ? [button(t.keep, () => end(id, async () => showKept(filename, await keep(id), item)))] : []),
    ...(isHere ? [] : [isInterrupted ? button(t.discard, cancel) : cross(t.cancelName(filename), cancel)]),
  ]);
}

/**
 * @param {string} id
 * @param {() => Promise<unknown>} act ends the upload
 */
async function end(id, act) {
  try {
    await act();
    takeOff(id);
  } catch (error) {
    say(/** @type {Error} */ (error).message);
  }
}
