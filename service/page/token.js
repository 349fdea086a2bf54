/** Keeps the account's token: in this browser's storage, or in this page alone if there is no storage. */
// @ts-check

const KEY = "wavepress.token";
/** @type {string | null} */
let kept = null;

/** @returns {string | null} */
export function readToken() {
  try {
    return localStorage.getItem(KEY) ?? kept;
  } catch {
    return kept;
  }
}

/** @param {string | null} token null forgets it */
export function keepToken(token) {
  kept = token;
  try {
    if (token) localStorage.setItem(KEY, token);
    else localStorage.removeItem(KEY);
  } catch {
    // Blocked by the browser: `kept` has it.
  }
  document.dispatchEvent(new Event("accountchange"));
}

addEventListener("storage", (event) => {
  if (event.key === KEY) document.dispatchEvent(new Event("accountchange"));
});
