/** Turns the microphone's sound into samples of 16 bits, a tenth of a second at a time. */
// @ts-check

class Samples extends AudioWorkletProcessor {
  #block = new Int16Array(Math.round(sampleRate / 10));
  #count = 0;
  #isPaused = false;

  constructor() {
    super();
    this.port.onmessage = ({ data }) => {
      this.#isPaused = data === "pause";
      if (data !== "resume") this.#post(data);
    };
  }

  /** @param {Float32Array[][]} inputs */
  process([channels]) {
    if (this.#isPaused || !channels.length) return true;
    for (let at = 0; at < channels[0].length; at += 1) {
      const sum = channels.reduce((total, channel) => total + channel[at], 0);
      const sample = Math.max(-1, Math.min(1, sum / channels.length));
      this.#block[this.#count++] = Math.round(sample * 32_767);
      if (this.#count === this.#block.length) this.#post("");
    }
    return true;
  }

  /** @param {string} reason */
  #post(reason) {
    this.port.postMessage({ reason, samples: this.#block.slice(0, this.#count) });
    this.#count = 0;
  }
}

registerProcessor("samples", Samples);
