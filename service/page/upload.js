/** One file on its way: an empty upload is made, and then gets what it does not have yet, as often as it takes. */
// @ts-check
import { address, ask, randomKey, Refusal, wait } from "./api.js";
import { t } from "./strings.js";
import { readToken } from "./token.js";

/**
 * @typedef {"waiting" | "sending" | "retrying" | "paused" | "done" | "refused" | "cancelled"} State
 * @typedef {{ id: string, filename: string, duration: number, size: number, created_at: string, url: string,
 *   complete: boolean, source_size: number, warnings: { code: string, detail: string }[] }} Stored
 */

/**
 * Make an empty upload, and return its id. Asked again with the same key, it is the same upload.
 * @param {string} name
 * @param {string} query
 * @param {Record<string, string>} headers
 */
export async function create(name, query, headers) {
  headers["Upload-Complete"] = "?0";
  const answer = await ask("PUT", `records/${encodeURIComponent(name)}${query}`, { headers });
  return answer.headers.get("Location")?.split("/").pop() ?? "";
}

/**
 * The headers of a request that brings bytes from `offset` on; nothing follows the last one.
 * @param {number} offset
 * @param {boolean} isLast
 */
export const partial = (offset, isLast) => ({
  "Content-Type": "application/partial-upload",
  "Upload-Complete": isLast ? "?1" : "?0",
  "Upload-Offset": String(offset),
});

/**
 * Return how many bytes the service has. Raises Refusal with the reason if the upload has failed.
 * @param {string} id
 * @returns {Promise<{ offset: number, isWhole: boolean }>}
 */
export async function findOffset(id) {
  const answer = await ask("HEAD", `uploads/${id}`).catch(async (refusal) => {
    if (!refusal.isPassing) await ask("GET", `uploads/${id}`); // it has the sentence
    throw refusal;
  });
  const { headers } = answer;
  return { offset: Number(headers.get("Upload-Offset")), isWhole: headers.get("Upload-Complete") === "?1" };
}

/**
 * End an upload with what has arrived of it, and return its record. Raises Refusal with the reason if there is none.
 * @param {string} id
 * @returns {Promise<Stored>}
 */
export async function keep(id) {
  await ask("DELETE", `uploads/${id}?incomplete=keep`);
  return (await ask("GET", `records/${id}`).catch(() => ask("GET", `uploads/${id}`))).json();
}

export class Upload extends EventTarget {
  /** @type {State} */
  state = "waiting";
  problem = "";
  offset = 0;
  /** @type {Stored | null} */
  record = null;
  /** @type {string[]} records of parts of the file, which nobody needs once it is whole */
  parts = [];
  /** @type {XMLHttpRequest | null} */
  #request = null;
  #key = randomKey();
  #run = 0;
  #first = 0;
  #since = 0;
  #partSize = 0;

  /**
   * @param {File} file
   * @param {string} query its parameters
   * @param {string} [id] of an upload under way that this file belongs to
   */
  constructor(file, query, id = "") {
    super();
    this.file = file;
    this.query = query;
    this.id = id;
  }

  /** Bytes a second since this request began; 0 if nobody knows. */
  get rate() {
    return Math.round(((this.offset - this.#first) / (performance.now() - this.#since)) * 1000);
  }

  /** @param {State} state */
  become(state, problem = "") {
    this.state = state;
    this.problem = problem;
    this.dispatchEvent(new Event("change"));
  }

  /** Stop sending for now. */
  pause() {
    this.become("paused");
    this.#request?.abort();
  }

  /** Stop sending, and leave nothing behind. */
  async cancel() {
    this.become("cancelled");
    this.#request?.abort();
    if (this.id) await ask("DELETE", `uploads/${this.id}`).catch(() => null);
  }

  /** Keep what has arrived, and send no more. Raises Refusal with the reason if that cannot be; it then stays paused. */
  async keep() {
    this.record = await keep(this.id);
    this.parts = []; // they may have more
    this.become("done");
  }

  /** Send until the record is there, or the service refuses, or somebody pauses or cancels. */
  async run() {
    const run = (this.#run += 1);
    const isWanted = () => run === this.#run && (this.state === "sending" || this.state === "retrying");
    this.become("sending");
    for (let failures = 0; isWanted(); failures += 1) {
      try {
        await this.#try(isWanted);
      } catch (error) {
        if (!isWanted()) return;
        if (!(error instanceof Refusal)) return this.become("refused", t.unreadable);
        if (error.status === 404 && this.id) {
          this.id = ""; // the service does not have it any more: once more from the start
          this.#key = randomKey();
        } else if (!error.isPassing) {
          return this.become("refused", error.message);
        }
        this.become("retrying", error.message);
        await wait(Math.min(1 + failures, 10));
      }
    }
  }

  /** @param {() => boolean} isWanted */
  async #try(isWanted) {
    await this.file.slice(0, 1).arrayBuffer(); // it may have been moved or changed
    const headers = { "Upload-Length": String(this.file.size), "Idempotency-Key": this.#key };
    const { offset, isWhole } = this.id ? await findOffset(this.id) : { offset: 0, isWhole: false };
    this.id ||= await create(this.file.name, this.query, headers);
    if (this.state === "cancelled") return this.cancel();
    if (!isWanted()) return;
    this.offset = this.#first = offset;
    this.#since = performance.now();
    this.become("sending");
    this.record = this.#whole(isWhole ? await (await ask("GET", `records/${this.id}`)).json() : await this.#send(offset));
    this.become("done", this.record.source_size === this.#partSize ? t.atLimit : "");
  }

  /**
   * Return the record of the file. Raises Refusal if it is only of what had arrived when the service stopped, or when it
   * no longer waited: then the file begins anew.
   * @param {Stored} record
   */
  #whole(record) {
    const { id, warnings, source_size: size } = record;
    // At a limit of the service, it ends at the same byte again: that is all that can be kept.
    if (size === this.#partSize || !warnings.some(({ code }) => code === "interrupted")) return record;
    this.#partSize = size;
    this.parts.push(id);
    throw new Refusal(t.brokenOff, 404);
  }

  /**
   * fetch cannot tell how much it has sent.
   * @param {number} offset
   * @returns {Promise<Stored>}
   */
  #send(offset) {
    return new Promise((resolve, reject) => {
      const request = (this.#request = new XMLHttpRequest());
      request.open("PATCH", address(`uploads/${this.id}`));
      const headers = { Authorization: `Bearer ${readToken()}`, ...partial(offset, true) };
      for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
      request.upload.onprogress = (event) => {
        this.offset = offset + event.loaded;
        this.become(this.state);
      };
      request.onload = () => {
        const { status, responseText: text } = request;
        if (status < 300) resolve(JSON.parse(text));
        else reject(Refusal.of(status, text));
      };
      request.onerror = request.onabort = () => reject(new Refusal(t.offline));
      request.send(this.file.slice(offset));
    });
  }
}
