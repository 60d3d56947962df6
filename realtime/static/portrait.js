// The portrait chooser: a picture from the file dialog or dropped anywhere on the page, and what became of it.

const HELP = "Or drop one anywhere on this page. One upright, well lit face works best.";

/** Fires `choose` (detail: the File) when the person has picked a picture that the server might take. */
export class PortraitChooser extends EventTarget {
  /** parts: {button, input, name, help, thumbnail, drop}: elements. maxBytes: the largest picture that the server takes. */
  constructor(parts, maxBytes) {
    super();
    this.parts = parts;
    this.maxBytes = maxBytes;
    parts.button.addEventListener("click", () => parts.input.click());
    parts.input.addEventListener("change", () => {
      const [file] = parts.input.files;
      parts.input.value = ""; // the same file can be chosen again
      if (file) this.choose(file);
    });
    this.#acceptDrops();
  }

  choose(file) {
    const megabytes = (bytes) => `${(bytes / 2 ** 20).toFixed(0)} MB`;
    if (file.type && !file.type.startsWith("image/")) {
      this.say(`${file.name} is not a picture.`, true);
    } else if (file.size > this.maxBytes) {
      this.say(`${file.name} has ${megabytes(file.size)}; the server takes ${megabytes(this.maxBytes)} at most.`, true);
    } else {
      this.dispatchEvent(new CustomEvent("choose", { detail: file }));
    }
  }

  /** Shows a picture as the portrait in use. source: a Blob. */
  show(source, name) {
    const { thumbnail, name: label } = this.parts;
    URL.revokeObjectURL(thumbnail.src);
    thumbnail.src = URL.createObjectURL(source);
    thumbnail.hidden = false;
    label.textContent = name;
    label.title = name;
  }

  /** A line under the portrait; without words, the usual help. */
  say(words = HELP, bad = false) {
    this.parts.help.textContent = words;
    this.parts.help.classList.toggle("bad", bad);
  }

  #acceptDrops() {
    const { drop } = this.parts;
    const hasFile = (event) => event.dataTransfer?.types.includes("Files");
    window.addEventListener("dragover", (event) => {
      if (!hasFile(event)) return;
      event.preventDefault();
      event.dataTransfer.dropEffect = "copy";
      drop.hidden = false;
    });
    window.addEventListener("dragleave", (event) => {
      if (!event.relatedTarget) drop.hidden = true; // it left the window, not one element for the next
    });
    window.addEventListener("drop", (event) => {
      drop.hidden = true;
      if (!hasFile(event)) return;
      event.preventDefault();
      const [file] = event.dataTransfer.files;
      if (file) this.choose(file);
    });
  }
}
