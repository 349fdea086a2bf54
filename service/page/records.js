/** The list of recordings: page by page, searched, played, linked, deleted. */
// @ts-check
import { address, ask, Refusal } from "./api.js";
import { readMe } from "./account.js";
import { button, copy, get, h, say } from "./dom.js";
import { bytes, date, time, title } from "./format.js";
import { close, current, isPlaying, play, playOrPause } from "./player.js";
import { strings } from "./strings.js";
import { readToken } from "./token.js";
import { draw, fetchWaveform } from "./waveform.js";

/** @typedef {import("./upload.js").Stored} Stored */

const UNDO_SECONDS = 6;
/** @type {Map<string, HTMLElement>} */
const rows = new Map();
/** @type {Map<string, () => void>} what is deleted for good when its time to undo is over */
const doomed = new Map();
/** @type {string | null} */
let next = null;
let generation = 0;

const list = /** @type {HTMLElement} */ (get("records"));
const search = /** @type {HTMLInputElement} */ (get("search"));
const seen = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    if (!isIntersecting) continue;
    if (target.id === "more") void readOn();
    else void fillWave(/** @type {HTMLElement} */ (target));
  }
}, { rootMargin: "300px" });

export function openRecords() {
  let timer = 0;
  search.oninput = () => { clearTimeout(timer); timer = setTimeout(() => void reload(), 250); };
  document.addEventListener("playing", (event) => follow(/** @type {CustomEvent} */ (event).detail));
  list.addEventListener("keydown", moveFocus);
  addEventListener("pagehide", () => { for (const remove of doomed.values()) remove(); });
}

/** Read the list anew. */
export async function reload() {
  generation += 1;
  rows.clear();
  list.replaceChildren();
  seen.disconnect();
  seen.observe(get("more"));
  next = `records?${new URLSearchParams({ limit: "30", ...(search.value && { search: search.value }) })}`;
  await Promise.all([readOn(), showUsage()]);
}

async function readOn() {
  const [asked, then] = [next, generation];
  next = null;
  if (!asked) return showEmpty();
  if (!readToken()) return showEmpty();
  try {
    const page = await (await ask("GET", asked)).json();
    if (then !== generation) return;
    for (const record of page.records) if (!rows.has(record.id) && !doomed.has(record.id)) list.append(row(record));
    // The address is that of the service for the world; this page asks where it came from.
    next = page.next && `records${new URL(page.next).search}`;
    if (next) {
      seen.unobserve(get("more"));
      seen.observe(get("more"));
    }
  } catch (error) {
    if (then === generation && error instanceof Refusal && error.status !== 401) say(error.message, button(strings.again, reload));
  }
  showEmpty();
}

async function showUsage() {
  const me = readToken() ? await readMe().catch(() => null) : null;
  get("usage").textContent = me ? strings.usage(me.records, bytes(me.bytes), bytes(me.max_bytes)) : "";
}

function showEmpty() {
  const isEmpty = !rows.size && !next;
  get("empty").hidden = !isEmpty;
  get("empty").textContent = search.value ? strings.nothingFound : strings.empty;
  get("search-box").hidden = isEmpty && !search.value;
}

/**
 * Put a new record on top.
 * @param {Stored} record
 */
export function add(record) {
  if (!rows.has(record.id)) list.prepend(row(record));
  showEmpty();
  void showUsage();
}

/** @param {Stored} record */
export const link = (record) => record.url.replace(/records\/([^/]+)\.mp3$/, "listen/$1");

/** @param {Stored} record */
function row(record) {
  const name = title(record.filename);
  const playable = { id: record.id, filename: record.filename, duration: record.duration };
  const start = (/** @type {number} */ fraction) => play(playable, fraction);
  const toggle = button("▶", () => (current?.id === record.id ? playOrPause() : start(0)), { class: "toggle", "aria-label": strings.playName(name) });
  const wave = h("div", { class: "mini", onclick: (/** @type {MouseEvent} */ event) => start(event.offsetX / wave.clientWidth) });
  const share = navigator.share && button(strings.share, () => navigator.share({ title: name, url: link(record) }).catch(() => null));
  const item = h("li", { "data-id": record.id, tabindex: -1 },
    toggle, h("span", { class: "name" }, name), wave, h("span", { class: "clock" }, time(record.duration)),
    h("span", { class: "facts" }, `${bytes(record.size)} · ${date(record.created_at)}${record.complete ? "" : ` · ${strings.cut}`}`),
    h("span", { class: "actions" },
      button(strings.copyLink, async () => { await copy(link(record)); say(strings.copied); }),
      ...(share ? [share] : []),
      h("a", { href: address(`records/${record.id}.mp3?download=1`), class: "button", download: true }, strings.download),
      button(strings.delete, () => remove(record), { "aria-label": strings.deleteName(name) })));
  rows.set(record.id, item);
  seen.observe(item);
  return item;
}

/** @param {HTMLElement} item */
async function fillWave(item) {
  seen.unobserve(item);
  const waveform = await fetchWaveform(item.dataset.id ?? "");
  if (waveform) item.querySelector(".mini")?.replaceChildren(draw(waveform));
}

/** @param {{ id?: string, fraction: number }} playing */
function follow({ id, fraction }) {
  for (const [own, item] of rows) {
    const toggle = item.querySelector(".toggle");
    if (toggle) toggle.textContent = isPlaying(own) ? "❚❚" : "▶";
    item.style.setProperty("--played", own === id ? `${fraction * 100}%` : "0%");
  }
}

/**
 * Delete after some seconds, unless it is undone.
 * @param {Stored} record
 */
function remove(record) {
  const item = rows.get(record.id);
  item?.replaceWith(h("li", { hidden: true, "data-gone": record.id }));
  rows.delete(record.id);
  close(record.id);
  const timer = setTimeout(() => doomed.get(record.id)?.(), UNDO_SECONDS * 1000);
  doomed.set(record.id, () => {
    clearTimeout(timer);
    doomed.delete(record.id);
    ask("DELETE", `records/${record.id}`, { keepalive: true }).then(showUsage, (error) => { say(error.message); add(record); });
  });
  say(strings.deleted(title(record.filename)), button(strings.undo, () => {
    clearTimeout(timer);
    if (!doomed.delete(record.id)) return;
    const gone = list.querySelector(`[data-gone="${record.id}"]`);
    if (gone) gone.replaceWith(row(record));
    else add(record);
    showEmpty();
    rows.get(record.id)?.querySelector("button")?.focus();
  }));
  showEmpty();
}

/** @param {KeyboardEvent} event */
function moveFocus(event) {
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  const items = [...list.querySelectorAll("li:not([hidden])")];
  const at = items.indexOf(/** @type {HTMLElement} */ (event.target).closest("li") ?? list);
  if (!step || at < 0) return;
  items[at + step]?.querySelector("button")?.focus();
  event.preventDefault();
}
