/** The panel of a recording that is being made. */
// @ts-check
import { button, get, h, say } from "./dom.js";
import { date, time } from "./format.js";
import { add, link } from "./records.js";
import { openMicrophone, Recorder } from "./recorder.js";
import { strings } from "./strings.js";

/** @param {() => Promise<string>} begin makes sure that there is an account */
export function openRecording(begin, quality = () => "") {
  const start = /** @type {HTMLButtonElement} */ (get("record"));
  start.onclick = async () => {
    start.disabled = true;
    try {
      await begin();
      const recorder = new Recorder(await openMicrophone());
      await recorder.start(`${strings.recording} ${date(Date.now()).replace(":", ".")}.wav`, `?incomplete=keep${quality()}`);
      show(recorder, () => { start.disabled = false; start.focus(); });
    } catch (error) {
      start.disabled = false;
      if (error instanceof Error && error.name !== "AbortError") say(error.message);
    }
  };
}

/**
 * @param {Recorder} recorder
 * @param {() => void} onend
 */
function show(recorder, onend) {
  const clock = h("span", { class: "clock" });
  const meter = h("meter", { max: 1, high: 0.95, optimum: 0.5, "aria-label": strings.level });
  const pause = button(strings.pause, () => {
    recorder.pause(!recorder.isPaused);
    pause.textContent = recorder.isPaused ? strings.resume : strings.pause;
  });
  const stop = button(strings.stop, () => end(async () => {
    const record = await recorder.stop();
    add(record);
    say(strings.recorded, h("a", { href: link(record) }, strings.openPage));
  }), { class: "primary" });
  const panel = get("recording");
  panel.replaceChildren(h("strong", {}, strings.recordingNow), clock, meter, stop, pause, button(strings.discard, () => end(() => recorder.discard())));
  panel.hidden = false;
  stop.focus();
  const end = async (/** @type {() => Promise<void>} */ finish) => {
    for (const one of panel.querySelectorAll("button")) one.disabled = true;
    await finish().catch((error) => say(error.message));
    panel.hidden = true;
    onend();
  };
  recorder.addEventListener("change", () => {
    clock.textContent = time(recorder.seconds);
    meter.value = recorder.level;
  });
  recorder.addEventListener("end", () => stop.click());
}
