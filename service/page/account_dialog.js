/** The dialog about the account: its token, shown, copied, forgotten, pasted; and all of it deleted. */
// @ts-check
import { enter, readMe, removeAll, renew } from "./account.js";
import { button, copy, get, h, say } from "./dom.js";
import { isBusy } from "./queue.js";
import { t } from "./strings.js";
import { keepToken, readToken } from "./token.js";

/** @type {HTMLDialogElement} */
const dialog = get("dialog");
const close = () => dialog.close();

/**
 * @param {string} heading
 * @param {...(Node | string)} content
 */
function open(heading, ...content) {
  dialog.replaceChildren(h("h2", {}, heading), ...content, button(t.close, close));
  if (!dialog.open) dialog.showModal();
}

/**
 * A form for a token; `use` raises an error if it is wrong.
 * @param {string} label
 * @param {(token: string) => unknown} use
 */
function tokenForm(label, use, problem = "") {
  const field = h("input", { required: true, autocomplete: "off" });
  const said = h("p", { role: "alert" }, problem);
  const onsubmit = async (/** @type {Event} */ event) => {
    event.preventDefault();
    try {
      await use(field.value.trim());
    } catch (error) {
      said.textContent = /** @type {Error} */ (error).message;
    }
  };
  return h("form", { onsubmit }, h("label", {}, label, field), said, h("button", {}, t.use));
}

/**
 * Ask for a token that makes an account, or is one's. Resolves to null if the person closes the dialog.
 * @param {"registration" | "account"} kind
 * @param {string} problem
 * @returns {Promise<string | null>}
 */
export function askForToken(kind, problem) {
  return new Promise((resolve) => {
    const done = (/** @type {string | null} */ token) => {
      dialog.onclose = null;
      close();
      resolve(token);
    };
    const { why, label } = t.tokenWanted[kind];
    open(t.begin, h("p", {}, why), tokenForm(label, done, problem));
    dialog.onclose = () => done(null);
  });
}

export async function openAccount() {
  const token = readToken();
  const use = async (/** @type {string} */ given) => { await enter(given); close(); };
  const paste = h("details", {}, h("summary", {}, t.paste), tokenForm(t.token, use));
  if (!token) return open(t.account, h("p", {}, t.noAccount), paste);
  const shown = h("code", { hidden: true }, token);
  const text = h("p", {}, t.tokenKept);
  const renewHere = async () => {
    if (isBusy()) throw new Error(t.busy);
    await renew();
    await openAccount();
  };
  open(t.account, text, shown,
    h("p", { class: "actions" },
      button(t.show, () => { shown.hidden = !shown.hidden; }),
      button(t.copy, () => copy(token)),
      twice(t.newToken, t.sure.renew, renewHere),
      twice(t.forget, t.sure.forget, () => { keepToken(null); close(); }),
      twice(t.deleteAll, t.sure.deleteAll, async () => { await removeAll(); close(); })),
    paste);
  const me = await readMe().catch(() => null);
  if (me) text.prepend(t.accountOf(me.username, me.records));
}

/**
 * A button that asks back, and acts when it is pressed again.
 * @param {string} label
 * @param {string} question
 * @param {() => unknown} act
 */
function twice(label, question, act) {
  const self = button(label, async () => {
    if (self.textContent === label) {
      self.textContent = question;
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
