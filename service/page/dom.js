/** Finds and builds elements. Text goes in as text, never as HTML. */
// @ts-check
import { t } from "./strings.js";

let silence = 0;

/**
 * @template {HTMLElement} T
 * @param {string} id
 * @returns {T}
 */
export function get(id) {
  const found = document.getElementById(id);
  if (!found) throw new Error(`There is no #${id}.`);
  return /** @type {T} */ (found);
}

/**
 * Build an element. `attributes` may have listeners (`onclick`); those that are undefined are left out.
 * @template {keyof HTMLElementTagNameMap} T
 * @param {T} tag
 * @param {Record<string, unknown>} [attributes]
 * @param {...(Node | string)} children
 */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name.slice(2), /** @type {EventListener} */ (value));
    else if (value !== undefined) element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children);
  return element;
}

/**
 * Build a button. A sign needs a label in words.
 * @param {string} text
 * @param {() => unknown} onclick
 * @param {string} [label]
 */
export const button = (text, onclick, label) => h("button", { onclick, "aria-label": label }, text);

/** Fill in the texts that elements name: `data-text`, which is their id unless it says another, and `data-label`. */
export function fillIn() {
  for (const element of document.querySelectorAll("[data-text], [data-label]")) {
    const { text, label } = /** @type {HTMLElement} */ (element).dataset;
    if (text !== undefined) element.textContent = textOf(text || element.id);
    if (label) element.setAttribute("aria-label", textOf(label));
    if (label && element instanceof HTMLInputElement) element.placeholder = textOf(label);
  }
}

/** @param {string} name */
const textOf = (name) => String(t[/** @type {keyof typeof t} */ (name)]);

/**
 * Say something for some seconds, also to a screen reader; `actions` are buttons beside it.
 * @param {string} text
 * @param {...HTMLElement} actions
 */
export function say(text, ...actions) {
  const toast = get("toast");
  toast.replaceChildren(text, ...actions);
  clearTimeout(silence);
  silence = setTimeout(() => toast.replaceChildren(), 6000);
}

/** @param {string} text */
export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // An insecure origin has no clipboard but this.
    const field = h("textarea", {}, text);
    (document.querySelector("dialog[open]") ?? document.body).append(field);
    field.select();
    document.execCommand("copy");
    field.remove();
  }
  say(t.copied);
}
