/** The front page: puts its parts together. */
// @ts-check
import { begin as beginAccount } from "./account.js";
import { askForToken, openAccount } from "./account_dialog.js";
import { address, ask, wait } from "./api.js";
import { button, copy, fillIn, get, say } from "./dom.js";
import { filesOf } from "./files.js";
import { showProblem, showUpload } from "./now.js";
import { watchOthers } from "./others.js";
import { close, openPlayer } from "./player.js";
import { enqueue, interruptedBy, isBusy } from "./queue.js";
import { openRecording } from "./recording.js";
import { openRecords, reload } from "./records.js";
import { t } from "./strings.js";
import { keepToken, readToken } from "./token.js";
import { Upload } from "./upload.js";
import { bitRateAt, check } from "./wav_check.js";

const HEALTH_SECONDS = 30;
/** @type {HTMLInputElement} */
const picker = get("files");
/** @type {HTMLSelectElement} */
const quality = get("quality");
/** @param {number} rate */
const qualityAt = (rate) => (quality.value ? `&bit_rate=${bitRateAt(Number(quality.value), rate)}` : "");
const begin = () => beginAccount(askForToken);
const choose = () => picker.click();

/** @param {Iterable<File>} files */
async function send(files) {
  let [isEmpty, noAccount] = [true, ""];
  for (const file of files) {
    isEmpty = false;
    const { problem, rate } = await check(file).catch(() => ({ problem: t.unreadable, rate: 0 }));
    if (!problem && !noAccount) noAccount = await begin().then(() => "", (error) => error.message);
    if (problem || noAccount) {
      showProblem(file.name, problem ?? noAccount);
      continue;
    }
    const upload = new Upload(file, `?incomplete=keep${qualityAt(rate)}`, await interruptedBy(file));
    showUpload(upload);
    enqueue(upload);
  }
  if (isEmpty) say(t.noFiles);
}

async function sendSample() {
  const answer = await fetch(address("examples/talk.wav"));
  await send([new File([await answer.blob()], "talk.wav", { lastModified: 0 })]);
}

function openSending() {
  const over = (/** @type {boolean} */ isOver) => get("drop").classList.toggle("over", isOver);
  get("choose").onclick = choose;
  get("sample").onclick = () => sendSample().catch(() => say(t.offline));
  picker.onchange = () => {
    void send([...(picker.files ?? [])]);
    picker.value = "";
  };
  addEventListener("dragover", (event) => { event.preventDefault(); over(true); });
  addEventListener("dragleave", (event) => { if (!event.relatedTarget) over(false); });
  addEventListener("drop", async (event) => {
    event.preventDefault();
    over(false);
    if (event.dataTransfer) await send(await filesOf(event.dataTransfer));
  });
  document.addEventListener("paste", ({ clipboardData: pasted }) => {
    if (pasted?.files.length) void send([...pasted.files]);
  });
  addEventListener("beforeunload", (event) => { if (isBusy() || !get("recording").hidden) event.preventDefault(); });
}

async function watchHealth() {
  for (;; await wait(HEALTH_SECONDS)) {
    const problem = await ask("GET", "health/ready", { token: null }).then(() => "", (error) => error.message);
    get("banner").textContent = problem;
    get("banner").hidden = !problem;
    get("status").textContent = problem ? t.notReady : t.ready;
  }
}

fillIn();
get("account").onclick = openAccount;
get("copy-lines").onclick = () => copy(get("lines").textContent ?? "");
document.addEventListener("accountchange", reload);
document.addEventListener("tokenrefused", () => {
  if (!readToken()) return;
  keepToken(null);
  say(t.lostAccount);
});
openPlayer(button("✕", () => close(), t.close));
openRecords();
openRecording(begin, qualityAt);
openSending();
void reload();
void watchOthers(choose);
void watchHealth();
