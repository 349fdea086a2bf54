/** Fetches a record's peaks, and draws them small. */
// @ts-check
import { address } from "./api.js";

const SVG = "http://www.w3.org/2000/svg";
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
 * Return the waveform as a picture of `count` bars, in the text's colour.
 * @param {Waveform} waveform
 */
export function draw({ peaks }, count = 120) {
  const bars = Math.min(count, peaks.length);
  let path = "";
  for (let bar = 0; bar < bars; bar += 1) {
    const span = peaks.slice(Math.floor((bar * peaks.length) / bars), Math.floor(((bar + 1) * peaks.length) / bars));
    const [top, bottom] = [Math.max(0.02, ...span), Math.min(-0.02, ...span)];
    path += `M${bar + 0.5} ${(1 - top).toFixed(2)}V${(1 - bottom).toFixed(2)}`;
  }
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", `0 0 ${bars} 2`);
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("aria-hidden", "true");
  for (const name of ["all", "played"]) {
    const line = document.createElementNS(SVG, "path");
    line.setAttribute("d", path);
    line.setAttribute("class", name);
    svg.append(line);
  }
  return svg;
}
