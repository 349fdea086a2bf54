/** Finds and builds elements. Text goes in as text, never as HTML. */
// @ts-check
import { strings } from "./strings.js";

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
 * Build an element. `attributes` may have listeners (`onclick`); those that are false or undefined are left out.
 * @template {keyof HTMLElementTagNameMap} T
 * @param {T} tag
 * @param {Record<string, unknown>} [attributes]
 * @param {...(Node | string)} children
 */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name.slice(2), /** @type {EventListener} */ (value));
    else if (value !== false && value !== undefined) element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children);
  return element;
}

/**
 * @param {string} text
 * @param {() => unknown} onclick
 * @param {Record<string, unknown>} [attributes]
 */
export const button = (text, onclick, attributes = {}) => h("button", { type: "button", onclick, ...attributes }, text);

/** Fill in the texts that elements name: `data-text`, `data-label`. */
export function fillIn() {
  for (const element of document.querySelectorAll("[data-text], [data-label]")) {
    const { text, label } = /** @type {HTMLElement} */ (element).dataset;
    if (text) element.textContent = textOf(text);
    if (label) element.setAttribute("aria-label", textOf(label));
    if (label && element instanceof HTMLInputElement) element.placeholder = textOf(label);
  }
}

/** @param {string} name */
const textOf = (name) => String(strings[/** @type {keyof typeof strings} */ (name)]);

/**
 * Say something for some seconds, also to a screen reader; `action` is a button beside it.
 * @param {string} text
 * @param {HTMLElement} [action]
 */
export function say(text, action) {
  const toast = get("toast");
  toast.replaceChildren(text, ...(action ? [action] : []));
  clearTimeout(Number(toast.dataset.timer));
  toast.dataset.timer = String(setTimeout(() => toast.replaceChildren(), 6000));
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
  say(strings.copied);
}
