/** The one player of a page: it goes on while one scrolls. */
// @ts-check
import WaveSurfer from "./vendor/wavesurfer.esm.js";
import { address } from "./api.js";
import { button, get, h, say } from "./dom.js";
import { time, title } from "./format.js";
import { t } from "./strings.js";
import { fetchWaveform } from "./waveform.js";

/** @typedef {{ id: string, filename: string, duration: number | null, isLive?: boolean }} Playable */

const SKIP_SECONDS = 5;
const audio = h("audio", { preload: "metadata" });
const toggle = button("▶", playOrPause);
const name = h("strong");
const clock = h("span", { class: "clock" });
const slider = h("input", { type: "range", max: 1, step: "any", value: 0, "aria-label": t.position });
const picture = h("div", { class: "wave", "aria-hidden": "true", hidden: true });

/** @type {Playable | null} */
let current = null;
/** @type {WaveSurfer | null} */
let surfer = null;

const lengthOf = () => (Number.isFinite(audio.duration) ? audio.duration : (current?.duration ?? 0));

/**
 * Put the player into the page.
 * @param {...HTMLElement} more buttons
 */
export function openPlayer(...more) {
  get("player").append(toggle, name, clock, ...more, picture, slider);
  slider.oninput = () => seek(Number(slider.value) * lengthOf());
  for (const event of ["timeupdate", "play", "pause", "durationchange", "ended"]) audio.addEventListener(event, show);
  audio.onerror = () => { if (current) say(current.isLive ? t.notYet : t.cannotPlay); };
  addEventListener("keydown", takeKey);
}

/**
 * Show a record in the player, and play it unless `isPlaying` is false.
 * @param {Playable} wanted
 * @param {number} fraction where to begin, of the whole
 */
export function play(wanted, fraction = 0, isPlaying = true) {
  get("player").hidden = false;
  if (wanted.id !== current?.id) {
    current = wanted;
    audio.src = address(`records/${wanted.id}.mp3`);
    name.textContent = title(wanted.filename);
    void showWaveform(wanted);
  }
  if (fraction) seek(fraction * lengthOf());
  if (isPlaying && audio.paused) playOrPause();
  show();
}

export function playOrPause() {
  if (!audio.paused) return audio.pause();
  if (audio.error) audio.load(); // it may be there by now
  audio.play().catch(() => null); // `onerror` says why
}

/** @param {string} id */
export const isPlaying = (id) => current?.id === id && !audio.paused;

/** @param {string} [id] if it is not played, nothing happens */
export function close(id = current?.id) {
  if (current?.id !== id) return;
  audio.pause();
  get("player").hidden = true;
  current = null;
}

/** @param {number} seconds */
function seek(seconds) {
  audio.currentTime = Math.max(0, Math.min(seconds, lengthOf()));
}

function show() {
  const whole = lengthOf();
  toggle.textContent = audio.paused ? "▶" : "❚❚";
  toggle.ariaLabel = audio.paused ? t.play : t.pause;
  clock.textContent = `${time(audio.currentTime)} / ${time(whole || null)}`;
  const fraction = whole ? audio.currentTime / whole : 0;
  slider.value = String(fraction);
  slider.ariaValueText = clock.textContent;
  document.dispatchEvent(new CustomEvent("playing", { detail: { id: current?.id, fraction } }));
}

/** @param {Playable} wanted */
async function showWaveform(wanted) {
  const waveform = await fetchWaveform(wanted.id);
  if (current !== wanted) return;
  picture.hidden = !waveform;
  if (waveform) drawWaveform(waveform);
  if (waveform ? !waveform.isFinal : wanted.isLive) setTimeout(() => void showWaveform(wanted), 2000);
}

/** @param {import("./waveform.js").Waveform} waveform */
function drawWaveform({ peaks, duration, isFinal }) {
  const whole = isFinal ? duration : Math.max(duration, lengthOf());
  // What has not arrived is silent so far.
  const all = peaks.concat(Array(Math.round(peaks.length * (whole / duration - 1)) || 0).fill(0));
  const { color } = getComputedStyle(picture);
  const waveColor = `color-mix(in srgb, ${color} 40%, transparent)`;
  surfer ??= WaveSurfer.create({
    container: picture, media: audio, height: 64, barWidth: 2, barGap: 1, waveColor, progressColor: color, dragToSeek: true,
  });
  // Nothing is fetched: the element has the file.
  void surfer.load(audio.src, [all], whole);
}

/** @param {KeyboardEvent} event */
function takeKey(event) {
  const target = /** @type {HTMLElement} */ (event.target);
  if (!current || event.ctrlKey || event.metaKey || event.altKey || target.closest("input, textarea, select, dialog")) return;
  if (event.key === " " && !target.closest("button, a, summary")) playOrPause();
  else if (event.key === "ArrowRight") seek(audio.currentTime + SKIP_SECONDS);
  else if (event.key === "ArrowLeft") seek(audio.currentTime - SKIP_SECONDS);
  else return;
  event.preventDefault();
}
