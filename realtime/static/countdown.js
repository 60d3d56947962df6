// The 3-2-1 before a calibration, with what to do meanwhile.

const STEPS = 3;
const STEP_MS = 1000;
const ASK = "Look straight at the camera, face at rest, mouth closed.";
const HOLD = "Hold still…";

export class Countdown {
  /** parts: {overlay, count, text}: elements. */
  constructor(parts) {
    this.parts = parts;
    this.timer = null;
    this.resolve = null;
  }

  /** Counts down; resolves to true at its end, to false when it was stopped. The overlay stays until `stop`. */
  run() {
    this.stop();
    this.parts.overlay.hidden = false;
    this.parts.text.textContent = ASK;
    return new Promise((resolve) => {
      this.resolve = resolve;
      this.#step(STEPS);
    });
  }

  stop() {
    clearTimeout(this.timer);
    this.parts.overlay.hidden = true;
    this.#settle(false);
  }

  #step(left) {
    this.parts.count.textContent = left || "";
    if (left) {
      this.timer = setTimeout(() => this.#step(left - 1), STEP_MS);
    } else {
      this.parts.text.textContent = HOLD;
      this.#settle(true);
    }
  }

  #settle(value) {
    this.resolve?.(value);
    this.resolve = null;
  }
}
