/** Looks at a file before a byte of it is sent. */
// @ts-check
import { facts } from "./api.js";
import { bytes } from "./format.js";
import { t } from "./strings.js";

/**
 * What files begin with, and what people call them.
 * @type {[RegExp, string][]}
 */
const OTHERS = [
  [/^....ftypM4A/s, "an M4A"],
  [/^....ftyp/s, "an MP4"],
  [/^fLaC/, "a FLAC"],
  [/^OggS/, "an Ogg"],
  [/^FORM/, "an AIFF"],
  [/^\xff[\xe2-\xff]/, "an MP3"],
  [/^\x1aE\xdf\xa3/, "a WebM"],
  [/^PK/, "a ZIP"],
];
const WAV = /^(RIFF|RF64|BW64)....WAVE/s;

/**
 * Return why the service would not take the file, or null, and its sample rate.
 * @param {File} file
 * @returns {Promise<{ problem: string | null, rate: number }>}
 */
export async function check(file) {
  let [head, text] = await read(file, 0);
  if (text.startsWith("ID3")) {
    // An MP3 has this tag, and a WAV may. Its length is in bytes of 7 bits.
    const length = [6, 7, 8, 9].reduce((sum, at) => sum * 128 + head.getUint8(at), 0);
    [head, text] = await read(file, 10 + length);
    if (!WAV.test(text)) text = "\xff\xfb";
  }
  return { problem: problemOf(file.size, text), rate: sampleRate(head, text) };
}

/**
 * @param {File} file
 * @param {number} start
 * @returns {Promise<[DataView, string]>}
 */
async function read(file, start) {
  const buffer = await file.slice(start, start + 4096).arrayBuffer();
  return [new DataView(buffer), String.fromCharCode(...new Uint8Array(buffer))];
}

/**
 * @param {number} size
 * @param {string} text
 */
function problemOf(size, text) {
  const max = Number(facts.maxBytes);
  if (size === 0) return t.emptyFile;
  if (WAV.test(text)) return size > max ? t.tooLarge(bytes(max)) : null;
  const kind = OTHERS.find(([beginning]) => beginning.test(text))?.[1];
  return kind ? t.otherFormat(kind) : t.notWav;
}

/**
 * @param {DataView} head
 * @param {string} text
 */
function sampleRate(head, text) {
  const at = text.indexOf("fmt ");
  return at > 0 && at + 16 <= head.byteLength ? head.getUint32(at + 12, true) : 44_100;
}

/**
 * Return the nearest bit rate that MP3 has at a sample rate: it has fewer at low ones.
 * @param {number} wanted
 * @param {number} rate
 */
export const bitRateAt = (wanted, rate) => Math.min(wanted, rate < 16_000 ? 64_000 : rate < 32_000 ? 160_000 : 320_000);
