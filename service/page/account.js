/** The account behind the page: made quietly, or begun with a token that somebody has. */
// @ts-check
import { ask, facts } from "./api.js";
import { t } from "./strings.js";
import { keepToken, readToken } from "./token.js";

/**
 * @typedef {object} Me
 * @property {string} username
 * @property {number} records
 * @property {number} bytes
 * @property {number} max_bytes
 * @property {number} max_records
 */

/** @type {Promise<void> | null} */
let beginning = null;

/**
 * The first time, make an account. `askForToken` is called if the service makes none without being asked, and resolves
 * to a token of the wanted kind, or to null if the person gives up: then this raises an error.
 * @param {(kind: "registration" | "account", problem: string) => Promise<string | null>} askForToken
 */
export async function begin(askForToken) {
  if (readToken()) return;
  beginning ??= make(askForToken).finally(() => { beginning = null; });
  await beginning;
}

/** @param {Parameters<typeof begin>[0]} askForToken */
async function make(askForToken) {
  const { registration } = facts;
  if (registration === "open") return register(null);
  const kind = registration === "token" ? "registration" : "account";
  for (let problem = ""; ;) {
    const given = await askForToken(kind, problem);
    if (given === null) throw new Error(t.notSent);
    try {
      return await (kind === "registration" ? register(given) : enter(given));
    } catch (refusal) {
      problem = /** @type {Error} */ (refusal).message;
    }
  }
}

/** @param {string | null} registrationToken */
async function register(registrationToken) {
  const answer = await ask("POST", "users?username=web", { token: registrationToken });
  keepToken((await answer.json()).token);
}

/**
 * Use a token that somebody has. Raises Refusal if it is nobody's.
 * @param {string} token
 */
export async function enter(token) {
  await ask("GET", "users/me", { token });
  keepToken(token);
}

/** @returns {Promise<Me>} */
export const readMe = async () => (await ask("GET", "users/me")).json();

/** Replace the token. The old one ends when the new one is used, which is at once. */
export async function renew() {
  const answer = await ask("POST", "users/me/token");
  await enter((await answer.json()).token);
}

/** Delete the account with all its recordings. */
export async function removeAll() {
  await ask("DELETE", "users/me");
  keepToken(null);
}
