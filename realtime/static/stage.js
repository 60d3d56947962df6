// The stage: the avatar's video, the mirrored self-view, and the words that lie over them.

const FACE_LOST = "Your face is out of sight. The portrait waits for you.";

export class Stage {
  /** parts: {root, avatar, still, self, idle, notice, title, text, action, hint}: elements. */
  constructor(parts) {
    this.parts = parts;
    this.act = null;
    parts.action.addEventListener("click", () => this.act?.());
  }

  /** canvas: [width, height] of the pictures that come back. */
  setCanvas([width, height]) {
    document.documentElement.style.setProperty("--aspect", String(width / height));
  }

  /** The portrait at rest, seen while nothing runs. source: a Blob. */
  showStill(source) {
    const { still } = this.parts;
    URL.revokeObjectURL(still.src);
    still.src = URL.createObjectURL(source);
    this.#state(this.parts.root.dataset.state);
  }

  showSelf(stream) {
    this.parts.self.srcObject = stream;
    this.parts.self.hidden = false;
  }

  showAvatar(stream) {
    this.parts.avatar.srcObject = stream;
    this.#state("live");
  }

  showFace(found) {
    // Its words come and go, not the element: what is read out is a change of words.
    this.parts.hint.textContent = found ? "" : FACE_LOST;
  }

  /** problem: {title, text, action?} from messages.js. act: what the button does. */
  showProblem({ title, text, action }, act) {
    this.clear();
    this.act = act;
    this.parts.action.hidden = !action;
    this.parts.action.textContent = action ?? "";
    // Shown before it is filled: an alert is read out when its words change, not when it appears.
    this.parts.notice.hidden = false;
    this.parts.title.textContent = title;
    this.parts.text.textContent = text;
    this.#state("problem");
  }

  /** Nothing runs and nothing is wrong. */
  clear() {
    this.parts.avatar.srcObject = null;
    this.parts.self.srcObject = null;
    this.parts.self.hidden = true;
    this.showFace(true);
    this.parts.notice.hidden = true;
    this.#state("idle");
  }

  #state(name) {
    this.parts.root.dataset.state = name;
    this.parts.idle.hidden = name !== "idle";
    this.parts.still.hidden = name === "live" || !this.parts.still.src;
  }
}
