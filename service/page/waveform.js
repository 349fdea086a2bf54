/** Finds a record's waveform, to draw it. */
// @ts-check
import { address } from "./api.js";
import { h } from "./dom.js";

/** @typedef {{ peaks: number[], duration: number, isFinal: boolean }} Waveform the least and the most of each point, from -1 to 1 */

/**
 * Return the waveform, so far if the recording is arriving, or null if the service has none.
 * @param {string} id
 * @returns {Promise<Waveform | null>}
 */
export async function fetchWaveform(id) {
  const answer = await fetch(address(`records/${id}/peaks.json`)).catch(() => null);
  if (!answer?.ok) return null;
  const { data, length, sample_rate: rate, samples_per_pixel: step } = await answer.json();
  return {
    peaks: data.map((/** @type {number} */ value) => value / 128),
    duration: (length * step) / rate,
    isFinal: answer.headers.has("ETag"),
  };
}

/**
 * Load the small picture of a waveform. Without one, nothing is shown.
 * @param {HTMLImageElement} picture
 * @param {string} id
 * @param {string | number} version another one for a waveform that has grown
 */
export function loadPicture(picture, id, version) {
  picture.onload = () => { picture.hidden = false; };
  picture.onerror = () => { picture.hidden = true; };
  picture.src = address(`records/${id}/waveform.svg?width=300&height=36&v=${version}`);
}

/**
 * Return a waveform to click into; `seek` is called with the part of the whole at which that was.
 * @param {string} id
 * @param {(fraction: number) => unknown} seek
 * @param {string | number} version as above
 */
export function miniature(id, seek, version = "") {
  const picture = h("img", { alt: "", loading: "lazy" });
  if (id) loadPicture(picture, id, version);
  const onclick = (/** @type {MouseEvent} */ { offsetX }) => seek(offsetX / box.clientWidth);
  const box = h("div", { class: "mini", onclick }, picture);
  return box;
}
