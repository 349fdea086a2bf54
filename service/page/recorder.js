/** Records the microphone as a WAV that goes out each second, so that little is lost if the page is closed. */
// @ts-check
import { ask, facts, Refusal, wait } from "./api.js";
import { t } from "./strings.js";
import { create, findOffset, partial } from "./upload.js";

// Requests that outlive the page may have 64 KiB together.
const KEEPALIVE_BYTES = 60_000;

/**
 * A WAV's header: 16 bits, mono, of a size that nobody knows yet. Every machine with a browser is little-endian.
 * @param {number} rate
 */
const header = (rate) =>
  Uint32Array.of(0x46464952, -1, 0x45564157, 0x20746d66, 16, 0x10001, rate, rate * 2, 0x100002, 0x61746164, -1);

/** Ask for the microphone. Raises an error with the sentence for the person. */
export async function openMicrophone() {
  if (!navigator.mediaDevices || !globalThis.AudioWorkletNode) throw new Error(t.insecure);
  // As it sounds: what calls need, music suffers from.
  const audio = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };
  try {
    return await navigator.mediaDevices.getUserMedia({ audio });
  } catch (error) {
    const name = error instanceof DOMException ? error.name : "";
    throw new Error(t.microphone[name] ?? t.microphone.other);
  }
}

export class Recorder extends EventTarget {
  level = 0;
  seconds = 0;
  isPaused = false;
  id = "";
  #offset = 0;
  /** @type {ArrayBufferView[]} what the service does not have yet */
  #unsent = [];
  #isSending = false;
  /** @type {() => void} */
  #flushed = () => {};

  /** @param {MediaStream} stream */
  constructor(stream) {
    super();
    this.stream = stream;
    this.context = new AudioContext();
  }

  /**
   * @param {string} name
   * @param {string} query
   */
  async start(name, query) {
    await this.context.audioWorklet.addModule(new URL("worklet.js", import.meta.url));
    this.#unsent.push(header(this.context.sampleRate));
    const node = (this.node = new AudioWorkletNode(this.context, "samples", { numberOfOutputs: 0 }));
    node.port.onmessage = ({ data }) => this.#take(data.samples, data.reason);
    this.context.createMediaStreamSource(this.stream).connect(node);
    await this.context.resume();
    this.id = await create(name, query, {});
    addEventListener("pagehide", this.#leave);
    this.timer = setInterval(() => this.#send(false).catch((error) => { if (!error.isPassing) this.dispatchEvent(new Event("end")); }), 1000);
  }

  /** @param {boolean} isPaused */
  pause(isPaused) {
    this.isPaused = isPaused;
    this.node?.port.postMessage(isPaused ? "pause" : "resume");
    clearTimeout(this.timeout);
    // The service ends an upload to which nothing comes.
    if (isPaused) this.timeout = setTimeout(() => this.dispatchEvent(new Event("end")), Number(facts.resumeSeconds) * 900);
  }

  /**
   * Send the rest, and return the record. A broken line is waited for.
   * @returns {Promise<import("./upload.js").Stored>}
   */
  async stop() {
    await new Promise((resolve) => {
      this.#flushed = () => resolve(null);
      this.node?.port.postMessage("pause");
    });
    this.close();
    for (;;) {
      try {
        const answer = await this.#send(true);
        if (answer) return await answer.json();
      } catch (error) {
        if (!(error instanceof Refusal && error.isPassing)) throw error;
      }
      await wait(0.2);
    }
  }

  /** Stop, and keep nothing. */
  async discard() {
    this.close();
    await ask("DELETE", `uploads/${this.id}`);
  }

  /** Let the microphone go. */
  close() {
    clearInterval(this.timer);
    clearTimeout(this.timeout);
    removeEventListener("pagehide", this.#leave);
    for (const track of this.stream.getTracks()) track.stop();
    void this.context.close();
  }

  /**
   * @param {Int16Array} samples
   * @param {string} reason
   */
  #take(samples, reason) {
    this.#unsent.push(samples);
    this.seconds += samples.length / this.context.sampleRate;
    this.level = samples.reduce((most, one) => Math.max(most, Math.abs(one)), 0) / 32_768;
    this.dispatchEvent(new Event("change"));
    if (reason) this.#flushed();
  }

  /** @param {boolean} isLast */
  async #send(isLast) {
    if (this.#isSending) return;
    this.#isSending = true;
    try {
      const body = new Blob(this.#unsent);
      const count = this.#unsent.length;
      const answer = await this.#patch(body, isLast);
      this.#offset += body.size;
      this.#unsent.splice(0, count);
      return answer;
    } catch (error) {
      await this.#findOut().catch(() => null);
      throw error;
    } finally {
      this.#isSending = false;
    }
  }

  /** Ask what has arrived of a request that failed. */
  async #findOut() {
    const { offset } = await findOffset(this.id);
    const count = this.#unsent.length;
    const rest = await new Blob(this.#unsent).slice(offset - this.#offset).arrayBuffer();
    this.#unsent.splice(0, count, new Uint8Array(rest));
    this.#offset = offset;
  }

  /**
   * @param {Blob} body
   * @param {boolean} isLast
   */
  #patch(body, isLast, keepalive = false) {
    return ask("PATCH", `uploads/${this.id}`, { headers: partial(this.#offset, isLast), body, keepalive });
  }

  /** The page goes: whatever happens, make a record of what there is. These requests outlive the page. */
  #leave = () => {
    const rest = new Blob(this.#unsent).slice(0, KEEPALIVE_BYTES);
    // Behind a request that is still under way nobody knows the offset.
    const last = this.#isSending
      ? ask("DELETE", `uploads/${this.id}?incomplete=keep`, { keepalive: true })
      : this.#patch(rest, true, true);
    last.catch(() => null);
  };
}
