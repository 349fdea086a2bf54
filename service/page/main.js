/** The front page: puts its parts together. */
// @ts-check
import { begin as beginAccount } from "./account.js";
import { askForToken, openAccount } from "./account_dialog.js";
import { address, ask, facts } from "./api.js";
import { copy, fillIn, get, say } from "./dom.js";
import { filesOf } from "./files.js";
import { showProblem, showUpload, watchOthers } from "./now.js";
import { openPlayer } from "./player.js";
import { enqueue, interruptedBy, isBusy } from "./queue.js";
import { openRecording } from "./recording.js";
import { openRecords, reload } from "./records.js";
import { strings } from "./strings.js";
import { keepToken, readToken } from "./token.js";
import { Upload } from "./upload.js";
import { check } from "./wav_check.js";

const HEALTH_SECONDS = 30;
const picker = /** @type {HTMLInputElement} */ (get("files"));
const quality = /** @type {HTMLSelectElement} */ (get("quality"));
const begin = () => beginAccount(askForToken);
const choose = () => picker.click();

/** @param {File[]} files */
async function send(files) {
  const judged = await Promise.all(files.map(async (file) => ({ file, ...(await check(file).catch(() => ({ problem: strings.unreadable, maxBitRate: 0 }))) })));
  for (const { file, problem } of judged) if (problem) showProblem(file.name, problem);
  const good = judged.filter(({ problem }) => !problem);
  if (!good.length) return files.length ? undefined : say(strings.noFiles);
  try {
    await begin();
  } catch (error) {
    if (error instanceof Error) showProblem(good.map(({ file }) => file.name).join(", "), error.name === "AbortError" ? strings.notSent : error.message);
    return;
  }
  for (const { file, maxBitRate } of good) {
    const bitRate = quality.value ? Math.min(Number(quality.value), maxBitRate) : null;
    const upload = new Upload(file, bitRate, interruptedBy(file));
    showUpload(upload);
    enqueue(upload);
  }
}

async function sendSample() {
  const answer = await fetch(address("examples/talk.wav"));
  await send([new File([await answer.blob()], "talk.wav", { lastModified: 0 })]);
}

function openSending() {
  get("choose").onclick = choose;
  get("sample").onclick = () => sendSample().catch(() => say(strings.offline));
  picker.onchange = () => { void send([...(picker.files ?? [])]); picker.value = ""; };
  addEventListener("dragover", (event) => { event.preventDefault(); get("drop").classList.add("over"); });
  addEventListener("dragleave", (event) => { if (!event.relatedTarget) get("drop").classList.remove("over"); });
  addEventListener("drop", async (event) => {
    event.preventDefault();
    get("drop").classList.remove("over");
    if (event.dataTransfer) await send(await filesOf(event.dataTransfer));
  });
  addEventListener("paste", (event) => { if (event.clipboardData?.files.length) void send([...event.clipboardData.files]); });
  addEventListener("beforeunload", (event) => { if (isBusy() || !get("recording").hidden) event.preventDefault(); });
}

async function watchHealth() {
  for (;;) {
    const problem = await ask("GET", "health/ready", { token: null }).then(() => "", (error) => error.message);
    if (get("banner").textContent !== problem) get("banner").textContent = problem;
    get("banner").hidden = !problem;
    get("status").textContent = problem ? strings.notReady : strings.statusReady;
    await new Promise((resolve) => setTimeout(resolve, HEALTH_SECONDS * 1000));
  }
}

/** The account is gone, or its token was replaced: say so once, and let the next file begin anew. */
function loseAccount() {
  if (!readToken()) return;
  keepToken(null);
  say(strings.lostAccount);
}

fillIn(strings);
get("account").onclick = openAccount;
get("copy-lines").onclick = async () => { await copy(get("lines").textContent ?? ""); say(strings.copied); };
document.addEventListener("tokenrefused", loseAccount);
document.addEventListener("accountchange", reload);
openPlayer();
openRecords();
openRecording(begin, () => (quality.value ? `&bit_rate=${quality.value}` : ""));
openSending();
void reload();
void watchOthers(choose);
void watchHealth();
