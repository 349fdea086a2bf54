/** The list of recordings: page by page, searched, played, linked, deleted. */
// @ts-check
import { address, ask, link } from "./api.js";
import { readMe } from "./account.js";
import { button, copy, get, h, say } from "./dom.js";
import { bytes, date, time, title } from "./format.js";
import { close, isPlaying, play, playOrPause } from "./player.js";
import { t } from "./strings.js";
import { readToken } from "./token.js";
import { miniature } from "./waveform.js";

/** @typedef {import("./upload.js").Stored} Stored */

const [UNDO_SECONDS, SEARCH_SECONDS] = [6, 0.25];
/** @type {Map<string, HTMLElement>} */
const rows = new Map();
/** @type {Map<string, () => void>} deletes for good what may still be undone */
const doomed = new Map();
/** @type {string | null} the address of the next page */
let next = null;
let version = 0;

const list = get("records");
const more = get("more");
/** @type {HTMLInputElement} */
const search = get("search");
const atTheEnd = new IntersectionObserver((entries) => {
  if (!entries.some((entry) => entry.isIntersecting)) return;
  atTheEnd.unobserve(more);
  void readOn();
}, { rootMargin: "300px" });

export function openRecords() {
  let timer = 0;
  search.oninput = () => {
    clearTimeout(timer);
    timer = setTimeout(reload, SEARCH_SECONDS * 1000);
  };
  document.addEventListener("playing", (event) => follow(/** @type {CustomEvent} */ (event).detail));
  list.addEventListener("keydown", moveFocus);
  addEventListener("pagehide", () => { for (const remove of doomed.values()) remove(); });
}

/** Read the list anew. */
export async function reload() {
  version += 1;
  rows.clear();
  list.replaceChildren();
  next = `records?${new URLSearchParams({ limit: "30", search: search.value })}`;
  await Promise.all([readOn(), showUsage()]);
}

async function readOn() {
  const [asked, then] = [next, version];
  next = null;
  try {
    const page = asked && readToken() ? await (await ask("GET", asked)).json() : { records: [] };
    if (then !== version) return;
    for (const record of page.records) if (!rows.has(record.id) && !doomed.has(record.id)) list.append(row(record));
    if (page.next) {
      // That is the service's address for the world; this page asks where it came from.
      next = `records${new URL(page.next).search}`;
      atTheEnd.observe(more);
    }
  } catch (error) {
    if (then === version && /** @type {import("./api.js").Refusal} */ (error).status !== 401) say(/** @type {Error} */ (error).message, button(t.again, reload));
  }
  showEmpty();
}

async function showUsage() {
  const me = readToken() ? await readMe().catch(() => null) : null;
  get("usage").textContent = me ? t.usage(me.records, bytes(me.bytes), bytes(me.max_bytes)) : "";
}

function showEmpty() {
  const isEmpty = !rows.size && !next;
  get("empty").hidden = !isEmpty;
  get("empty").textContent = search.value ? t.nothingFound : t.empty;
  search.hidden = isEmpty && !search.value;
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

/**
 * Delete a record at once.
 * @param {string} id
 */
export function drop(id) {
  rows.get(id)?.remove();
  rows.delete(id);
  close(id);
  ask("DELETE", `records/${id}`).then(showUsage, () => null);
}

/** @param {string} id */
export const focusOn = (id) => rows.get(id)?.querySelector("button")?.focus();

/** @param {Stored} record */
function row(record) {
  const { id, filename, duration, size, complete, created_at: created } = record;
  const name = title(filename);
  const start = (fraction = 0) => play({ id, filename, duration }, fraction);
  const actions = [
    button(t.copyLink, () => copy(link(id))),
    h("a", { href: address(`records/${id}.mp3?download=1`), class: "button", download: true }, t.download),
    button(t.delete, () => remove(record), t.deleteName(name)),
  ];
  if (navigator.share) actions.unshift(button(t.share, () => navigator.share({ title: name, url: link(id) }).catch(() => null)));
  const item = h("li", { "data-id": id },
    button("▶", () => (isPlaying(id) ? playOrPause() : start()), t.playName(name)),
    h("a", { class: "name", href: address(`listen/${id}`) }, name), miniature(id, start), h("span", { class: "clock" }, time(duration)),
    h("span", { class: "facts" }, [bytes(size), date(created), ...(complete ? [] : [t.cut])].join(" · ")),
    h("span", { class: "actions" }, ...actions));
  rows.set(id, item);
  return item;
}

/** @param {{ id?: string, fraction: number }} playing */
function follow({ id, fraction }) {
  for (const [own, item] of rows) {
    item.children[0].textContent = isPlaying(own) ? "❚❚" : "▶";
    item.style.setProperty("--played", own === id ? `${fraction * 100}%` : "0%");
  }
}

/**
 * Delete after some seconds, unless it is undone.
 * @param {Stored} record
 */
function remove(record) {
  const { id, filename } = record;
  const place = h("li", { hidden: true });
  rows.get(id)?.replaceWith(place);
  rows.delete(id);
  close(id);
  const take = () => {
    clearTimeout(timer);
    return doomed.delete(id);
  };
  const restore = () => {
    if (!place.isConnected) return reload();
    place.replaceWith(row(record));
    showEmpty();
  };
  const finish = () => {
    if (take()) ask("DELETE", `records/${id}`, { keepalive: true }).then(showUsage, (error) => { say(error.message); void restore(); });
  };
  const timer = setTimeout(finish, UNDO_SECONDS * 1000);
  doomed.set(id, finish);
  say(t.deleted(title(filename)), button(t.undo, () => {
    if (!take()) return;
    void restore();
    focusOn(id);
  }));
  showEmpty();
}

/** @param {KeyboardEvent} event */
function moveFocus(event) {
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  const items = [...list.children].filter((item) => item.children.length);
  const at = items.findIndex((item) => item.contains(/** @type {Node} */ (event.target)));
  if (!step || at < 0) return;
  items[at + step]?.querySelector("button")?.focus();
  event.preventDefault();
}
