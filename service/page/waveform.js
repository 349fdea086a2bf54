/** Finds a record's waveform, to draw it. */
// @ts-check
import { address } from "./api.js";
import { h } from "./dom.js";

/** @typedef {{ peaks: number[], duration: number }} Waveform the least and the most of each point, from -1 to 1 */

/**
 * Return the waveform, or null if the service has none of this record (yet).
 * @param {string} id
 * @returns {Promise<Waveform | null>}
 */
export async function fetchWaveform(id) {
  const answer = await fetch(address(`records/${id}/peaks.json`)).catch(() => null);
  if (!answer?.ok) return null;
  const { data, length, sample_rate: rate, samples_per_pixel: step } = await answer.json();
  if (!length) return null;
  return { peaks: data.map((/** @type {number} */ value) => value / 128), duration: (length * step) / rate };
}

/**
 * Return a small picture of it. Without a waveform, there is none.
 * @param {string} id
 */
export function thumbnail(id) {
  const src = address(`records/${id}/waveform.svg?width=300&height=36`);
  const picture = h("img", { src, alt: "", loading: "lazy", onerror: () => picture.remove() });
  return picture;
}
