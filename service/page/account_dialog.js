/** The dialog about the account: its token, shown, copied, forgotten, pasted; and all of it deleted. */
// @ts-check
import { enter, readMe, removeAll, renew } from "./account.js";
import { button, copy, get, h, say } from "./dom.js";
import { isBusy } from "./queue.js";
import { strings } from "./strings.js";
import { keepToken, readToken } from "./token.js";

const dialog = () => /** @type {HTMLDialogElement} */ (get("dialog"));

/** @param {(Node | string)[]} content */
function open(...content) {
  dialog().replaceChildren(...content);
  if (!dialog().open) dialog().showModal();
}

/**
 * A form for a token; `use` raises an error if it is wrong.
 * @param {string} label
 * @param {(token: string) => unknown} use
 */
function tokenForm(label, use, error = "") {
  const field = h("input", { required: true, autocomplete: "off", spellcheck: "false" });
  const problem = h("p", { role: "alert" }, error);
  const onsubmit = async (/** @type {Event} */ event) => {
    event.preventDefault();
    await Promise.resolve(use(field.value.trim())).catch((refusal) => { problem.textContent = refusal.message; });
  };
  return h("form", { onsubmit }, h("label", {}, label, field), problem, h("button", {}, strings.use));
}

/**
 * Ask for a token that makes an account, or is one's. Resolves to null if the person closes the dialog.
 * @param {"registration" | "account"} kind
 * @param {string} [error]
 * @returns {Promise<string | null>}
 */
export function askForToken(kind, error) {
  return new Promise((resolve) => {
    const done = (/** @type {string | null} */ token) => {
      dialog().onclose = null;
      dialog().close();
      resolve(token);
    };
    const text = strings.tokenWanted[kind];
    open(h("h2", {}, text.title), h("p", {}, text.why), tokenForm(text.label, done, error), button(strings.close, () => done(null)));
    dialog().onclose = () => done(null);
  });
}

export async function openAccount() {
  const token = readToken();
  const close = button(strings.close, () => dialog().close());
  const paste = h("details", {}, h("summary", {}, strings.paste), tokenForm(strings.token, async (given) => {
    await enter(given);
    dialog().close();
  }));
  const heading = h("h2", {}, strings.account);
  if (!token) return open(heading, h("p", {}, strings.noAccount), paste, close);
  const shown = h("code", { hidden: true }, token);
  const text = h("p", {}, strings.tokenKept);
  open(heading, text, shown,
    h("p", { class: "actions" },
      button(strings.show, () => { shown.hidden = !shown.hidden; }),
      button(strings.copy, async () => { await copy(token); say(strings.copied); }),
      twice(strings.newToken, async () => {
        if (isBusy()) throw new Error(strings.busy);
        await renew();
        await openAccount();
      }),
      twice(strings.forget, () => { keepToken(null); dialog().close(); }),
      twice(strings.deleteAll, async () => { await removeAll(); dialog().close(); })),
    paste, close);
  const me = await readMe().catch(() => null);
  if (me) text.prepend(strings.accountOf(me.username, me.records));
}

/**
 * A button that wants to be pressed twice.
 * @param {string} label
 * @param {() => unknown} act
 */
function twice(label, act) {
  let isSure = false;
  const self = button(label, async () => {
    if (!isSure) {
      isSure = true;
      self.textContent = `${label}: ${strings.sure[label] ?? strings.reallySure}`;
      return;
    }
    try {
      await act();
    } catch (error) {
      say(/** @type {Error} */ (error).message);
    }
  });
  return self;
}
