/** Keeps the account's token in this browser's storage. */
// @ts-check

const KEY = "wavepress.token";

export const readToken = () => localStorage.getItem(KEY);

/** @param {string | null} token null forgets it */
export function keepToken(token) {
  if (token) localStorage.setItem(KEY, token);
  else localStorage.removeItem(KEY);
  document.dispatchEvent(new Event("accountchange"));
}

addEventListener("storage", (event) => {
  if (event.key === KEY) document.dispatchEvent(new Event("accountchange"));
});
