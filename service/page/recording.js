/** The panel of a recording that is being made. */
// @ts-check
import { button, get, h, say } from "./dom.js";
import { date, time } from "./format.js";
import { showRecording, takeOff } from "./others.js";
import { add } from "./records.js";
import { openMicrophone, Recorder } from "./recorder.js";
import { t } from "./strings.js";

/**
 * @param {() => Promise<void>} begin makes sure that there is an account
 * @param {(rate: number) => string} quality the parameter that asks for it, at a sample rate
 */
export function openRecording(begin, quality) {
  /** @type {HTMLButtonElement} */
  const start = get("record");
  start.onclick = async () => {
    start.disabled = true;
    /** @type {Recorder | undefined} */
    let recorder;
    try {
      await begin();
      recorder = new Recorder(await openMicrophone());
      const name = `${t.recording} ${date(Date.now()).replace(":", ".")}.wav`;
      await recorder.start(name, `?incomplete=keep${quality(recorder.context.sampleRate)}`);
      showRecording(recorder.id);
      show(recorder, () => { start.disabled = false; start.focus(); });
    } catch (error) {
      recorder?.close();
      start.disabled = false;
      say(/** @type {Error} */ (error).message);
    }
  };
}

/**
 * @param {Recorder} recorder
 * @param {() => void} onend
 */
function show(recorder, onend) {
  const heading = h("strong", {}, t.recording);
  const clock = h("span", { class: "clock" });
  const meter = h("meter", { max: 1, high: 0.95, optimum: 0.5, "aria-label": t.level });
  const pause = button(t.pause, () => {
    recorder.pause(!recorder.isPaused);
    pause.textContent = recorder.isPaused ? t.resume : t.pause;
  });
  const end = async (/** @type {() => Promise<void>} */ finish) => {
    heading.textContent = t.finishing;
    for (const one of panel.querySelectorAll("button")) one.disabled = true;
    await finish().then(() => takeOff(recorder.id), (error) => say(error.message));
    showRecording("");
    panel.hidden = true;
    onend();
  };
  const stop = button(t.stop, () => end(async () => {
    add(await recorder.stop());
    say(t.recorded);
  }));
  stop.className = "primary";
  const panel = get("recording");
  panel.replaceChildren(heading, clock, meter, stop, pause, button(t.discard, () => end(() => recorder.discard())));
  panel.hidden = false;
  stop.focus();
  recorder.addEventListener("change", () => {
    clock.textContent = time(recorder.seconds);
    meter.value = recorder.level;
  });
  recorder.addEventListener("end", () => stop.click());
}
