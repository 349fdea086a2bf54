/** Looks at a file before a byte of it is sent. */
// @ts-check
import { facts } from "./api.js";
import { bytes } from "./format.js";
import { strings } from "./strings.js";

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
 * Return why the service would not take the file, or null, and the highest bit rate that an MP3 of it may have.
 * @param {File} file
 * @returns {Promise<{ problem: string | null, maxBitRate: number }>}
 */
export async function check(file) {
  let [head, text] = await read(file, 0);
  if (text.startsWith("ID3")) {
    // An MP3 has this tag, and a WAV may. Its length is in bytes of 7 bits.
    const length = [6, 7, 8, 9].reduce((sum, at) => sum * 128 + head.getUint8(at), 0);
    [head, text] = await read(file, 10 + length);
    if (!WAV.test(text)) text = "\xff\xfb";
  }
  return { problem: problemOf(file.size, text), maxBitRate: maxBitRate(head, text) };
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
  if (size === 0) return strings.emptyFile;
  if (WAV.test(text)) return size > max ? strings.tooLarge(bytes(max)) : null;
  const other = OTHERS.find(([beginning]) => beginning.test(text));
  return other ? strings.otherFormat(other[1]) : strings.notWav;
}

/**
 * MP3 has fewer bit rates at low sample rates.
 * @param {DataView} head
 * @param {string} text
 */
function maxBitRate(head, text) {
  const at = text.indexOf("fmt ");
  const rate = at > 0 && at + 16 <= head.byteLength ? head.getUint32(at + 12, true) : 44_100;
  if (rate >= 32_000) return 320_000;
  return rate >= 16_000 ? 160_000 : 64_000;
}
