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

/** @type {Promise<string> | null} */
let beginning = null;

/**
 * Return the token; the first time, make an account. `askForToken` is called if the service makes none without being
 * asked, and resolves to a token of the wanted kind, or to null if the person gives up.
 * @param {(kind: "registration" | "account", problem: string) => Promise<string | null>} askForToken
 * @returns {Promise<string>}
 */
export function begin(askForToken) {
  const token = readToken();
  if (token) return Promise.resolve(token);
  beginning ??= make(askForToken).finally(() => { beginning = null; });
  return beginning;
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
  const { token } = await answer.json();
  keepToken(token);
  return token;
}

/**
 * Use a token that somebody has. Raises Refusal if it is nobody's.
 * @param {string} token
 */
export async function enter(token) {
  await ask("GET", "users/me", { token });
  keepToken(token);
  return token;
}

/** @returns {Promise<Me>} */
export const readMe = async () => (await ask("GET", "users/me")).json();

/** Replace the token. The old one ends when the new one is used, which is at once. */
export async function renew() {
  const { token } = await (await ask("POST", "users/me/token")).json();
  await enter(token);
}

/** Delete the account with all its recordings. */
export async function removeAll() {
  await ask("DELETE", "users/me");
  keepToken(null);
}
