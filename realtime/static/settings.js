// How the movement is applied: one slider or switch for each control that the server's model honours.

const WORDS = {
  relative: ["Keep the portrait's own pose at rest", "When off, the portrait takes over your pose as it stands"],
  gain_pose: ["Head", "How far the head follows yours"],
  gain_expression: ["Expression", "How strongly the face follows yours"],
  eyes: ["Eyes", "Gaze and lids, on top of the expression"],
  lips: ["Mouth", "The lips, on top of the expression"],
  face: ["Rest of the face", "Brows, cheeks and jaw, on top of the expression"],
  retarget: ["Measure eyes and lips", "Open them as far as yours are open"],
  stitching: ["Hold the shoulders", "How much the body is kept where it is"],
  mouth_pixels: ["Show the inside of my mouth", "When off, the inside of the mouth is drawn, not filmed"],
  shading: ["Light", "How much of the light and shade on your face is carried over"],
};

// Likewise, what pushes the avatar beside the movement, either way; with words for both ends.
const EDITS = {
  turn: ["Turn", "to the left", "to the right"],
  nod: ["Nod", "down", "up"],
  tilt: ["Tilt", "to the left", "to the right"],
  jaw: ["Mouth", "shut", "open"],
  smile: ["Smile", "less", "more"],
  blink: ["Eyes", "open", "shut"],
};

/** Fires `change` with detail {NAME: NUMBER} for what the person moved. */
export class Settings extends EventTarget {
  /** controls: /api/config's. Those that cannot take more than one value have nothing to set, and are left out. */
  constructor(form, controls) {
    super();
    this.controls = Object.fromEntries(Object.entries(controls).filter(([, range]) => range.max > range.min));
    this.inputs = {};
    this.outputs = {};
    const order = [...Object.keys(WORDS), ...Object.keys(EDITS)];
    const place = (name) => (order.indexOf(name) + order.length) % order.length;
    const names = Object.keys(this.controls).sort((a, b) => place(a) - place(b));
    const rows = names.map((name) => this.#row(name));
    const first = names.findIndex((name) => name in EDITS);
    if (first >= 0) rows.splice(first, 0, this.#heading("On top of your movement"));
    form.replaceChildren(...rows);
    form.addEventListener("submit", (event) => event.preventDefault());
    this.reset();
  }

  get empty() {
    return Object.keys(this.inputs).length === 0;
  }

  /** {NAME: NUMBER} of every control shown. */
  get values() {
    return Object.fromEntries(Object.keys(this.inputs).map((name) => [name, this.#value(name)]));
  }

  /** Shows values that came from elsewhere. Names that are not shown are passed over. */
  show(values) {
    for (const [name, value] of Object.entries(values)) {
      const input = this.inputs[name];
      if (!input) continue;
      if (input.type === "checkbox") input.checked = value > 0;
      else input.value = String(value);
      this.#label(name);
    }
  }

  /** Back to the server's own values. Fires no `change`. */
  reset() {
    this.show(Object.fromEntries(Object.entries(this.controls).map(([name, range]) => [name, range.value])));
  }

  #value(name) {
    const input = this.inputs[name];
    if (input.type !== "checkbox") return Number(input.value);
    return input.checked ? this.controls[name].max : this.controls[name].min;
  }

  #label(name) {
    const output = this.outputs[name];
    if (!output) return;
    const value = Math.round(100 * this.#value(name));
    const sign = value < 0 ? "−" : value > 0 && this.controls[name].min < 0 ? "+" : "";
    output.textContent = `${sign}${Math.abs(value)} %`;
    this.inputs[name].setAttribute("aria-valuetext", output.textContent);
    this.inputs[name].style.setProperty("--at", `${50 + value / 2}%`); // for those that begin in the middle
  }

  /** Words under a setting, for eyes and screen readers alike: a sentence, or one for either end. */
  #help(input, words) {
    const help = document.createElement("p");
    help.id = `${input.id}-help`;
    help.className = "small";
    words.forEach((part, index) => {
      const end = document.createElement("span");
      end.textContent = part;
      help.append(...(index ? [" ", end] : [end]));
    });
    input.setAttribute("aria-describedby", help.id);
    return help;
  }

  #heading(words) {
    const heading = document.createElement("h3");
    heading.textContent = words;
    return heading;
  }

  #row(name) {
    const { min, max, step } = this.controls[name];
    const [words, ...help] = WORDS[name] ?? EDITS[name] ?? [name.replaceAll("_", " ")];
    const input = document.createElement("input");
    const label = document.createElement("label");
    const row = document.createElement("div");
    input.id = `setting-${name}`;
    input.name = name;
    label.htmlFor = input.id;
    label.textContent = words;
    row.className = "setting";
    if (step >= max - min) {
      input.type = "checkbox";
      row.classList.add("switch");
      row.append(label, input);
    } else {
      Object.assign(input, { type: "range", min, max, step });
      if (min < 0) input.className = "both";
      const output = document.createElement("span");
      output.setAttribute("aria-hidden", "true"); // the slider tells its own value
      this.outputs[name] = output;
      row.append(label, output, input);
    }
    if (help.length) row.append(this.#help(input, help));
    input.addEventListener("input", () => {
      this.#label(name);
      this.dispatchEvent(new CustomEvent("change", { detail: { [name]: this.#value(name) } }));
    });
    this.inputs[name] = input;
    return row;
  }
}
