// The page: puts the camera, the connection, the portrait and the settings together, and keeps what state it is in.

import { Api } from "./api.js";
import { Camera, CameraFailure } from "./camera.js";
import { Connection } from "./connection.js";
import { Countdown } from "./countdown.js";
import { Figures } from "./figures.js";
import { explain, sentence } from "./messages.js";
import { PortraitChooser } from "./portrait.js";
import { Settings } from "./settings.js";
import { Stage } from "./stage.js";
import { takeToken, watchToken } from "./token.js";

const State = Object.freeze({ IDLE: "idle", STARTING: "starting", LIVE: "live" });
const NEXT = { idle: ["starting"], starting: ["live", "idle"], live: ["idle"] };
const NOTE_MS = 4000;
const NOT_DRAWN = "No new picture just now";
const SERVERS = "The server’s portrait";
const CALIBRATED_MS = 3000; // half a second of rest, and time for a slow machine; then the answer is not coming

const part = (id) => document.getElementById(id);

class Page {
  constructor(api, config) {
    this.api = api;
    this.config = config;
    this.state = State.IDLE;
    this.attempt = null; // to start, until it is stopped; another one each time, to compare with after each wait
    this.connection = null;
    this.picture = null; // the portrait that the person chose, a File; null for the server's
    this.serversPicture = null;
    this.noteOver = null;
    this.drawn = true; // can the server draw the avatar?
    this.camera = new Camera();
    this.stage = new Stage({
      root: part("stage"), avatar: part("avatar"), still: part("still"), self: part("self"), idle: part("idle"),
      notice: part("notice"), title: part("notice-title"), text: part("notice-text"), action: part("notice-action"), hint: part("face-hint"),
    });
    this.figures = new Figures({ fps: part("figure-fps"), delay: part("figure-delay"), drops: part("figure-drops") });
    this.countdown = new Countdown({ overlay: part("countdown"), count: part("count"), text: part("count-text") });
    this.portrait = new PortraitChooser({
      button: part("portrait-choose"), input: part("portrait-file"), name: part("portrait-name"),
      help: part("portrait-help"), thumbnail: part("thumbnail"), drop: part("drop"),
    }, config.maxUpload);
    this.settings = new Settings(part("sliders"), config.controls);
    part("settings").hidden = this.settings.empty;
    this.stage.setCanvas(config.canvas);
    this.#listen();
  }

  #listen() {
    part("start").addEventListener("click", () => (this.state === State.IDLE ? this.start() : this.stop()));
    part("calibrate").addEventListener("click", () => this.calibrate());
    part("camera").addEventListener("change", () => this.switchCamera());
    part("settings-reset").addEventListener("click", () => {
      this.settings.reset();
      this.#sendControls(this.settings.values);
    });
    this.settings.addEventListener("change", (event) => this.#sendControls(event.detail));
    this.portrait.addEventListener("choose", (event) => this.changePortrait(event.detail));
    this.camera.addEventListener("devices", () => this.listCameras());
    this.camera.addEventListener("unplugged", () => this.fail(new CameraFailure("unplugged")));
    window.addEventListener("pagehide", () => {
      this.connection?.close(true);
      this.stop();
    });
  }

  async start() {
    if (this.state !== State.IDLE) return;
    const attempt = (this.attempt = Symbol("attempt"));
    const camera = part("camera").value;
    this.#enter(State.STARTING, "Opening the camera…", "busy");
    this.stage.clear();
    this.drawn = true;
    try {
      this.stage.showSelf(await this.camera.open(camera));
      this.#say("Connecting…", "busy");
      const connection = (this.connection = new Connection(this.api, this.config.iceServers));
      connection.addEventListener("message", (event) => this.#hear(connection, event.detail));
      const avatar = await connection.open();
      if (this.attempt !== attempt) return;
      connection.addEventListener("lost", (event) => this.fail(event.detail));
      const outcome = await this.#usePicture(connection); // before a frame is sent, or the server's portrait would answer it
      if (this.attempt !== attempt) return;
      await connection.replaceTrack(this.camera.track);
      if (this.attempt !== attempt) return;
      this.#enter(State.LIVE, ...this.#rest());
      this.stage.showAvatar(avatar);
      this.figures.start(connection.peer);
      if (outcome) this.#note(...outcome);
      if (part("camera").value !== camera) await this.switchCamera(); // another was chosen meanwhile
    } catch (error) {
      if (this.attempt === attempt) this.fail(error);
    }
  }

  /** Ends what runs. The words in the status line say why. */
  stop(words = "Stopped", tone = "") {
    if (this.state === State.IDLE) return;
    const { connection } = this;
    this.attempt = null;
    this.connection = null;
    connection?.close();
    this.camera.close();
    if (connection && connection.source !== this.picture) this.#keepPicture();
    this.countdown.stop();
    this.figures.stop();
    this.stage.clear();
    this.#enter(State.IDLE, words, tone);
  }

  fail(error) {
    const problem = explain(error);
    this.stop(problem.title, "bad");
    this.stage.showProblem(problem, () => this.start());
  }

  async calibrate() {
    if (this.state !== State.LIVE) return;
    const connection = this.connection;
    this.#say("Calibrating…", "busy");
    part("calibrate").disabled = true;
    if (!(await this.countdown.run())) return;
    const done = new Promise((resolve) => {
      const limit = setTimeout(() => resolve(false), CALIBRATED_MS);
      connection.addEventListener("message", (event) => {
        if (event.detail.type !== "calibrated") return;
        clearTimeout(limit);
        resolve(true);
      });
    });
    connection.send({ type: "calibrate" });
    const calibrated = await done;
    if (this.connection !== connection) return;
    this.countdown.stop();
    part("calibrate").disabled = false;
    if (calibrated) this.#note("Calibrated", "live");
    else this.#note("Not calibrated: no face to be seen", "bad");
  }

  async changePortrait(file) {
    this.picture = file;
    if (this.state !== State.LIVE) return this.#keepPicture();
    const outcome = await this.#usePicture(this.connection);
    if (outcome) this.#note(...outcome);
    return undefined;
  }

  /** The chosen picture waits for a session. */
  #keepPicture() {
    this.#showPortrait(this.picture, this.picture.name);
    this.portrait.say("It is used from the next start on.");
  }

  /**
   * Puts the chosen picture in use, and if another one is chosen meanwhile, that one after it. Resolves to what is to be said
   * of it, if anything.
   */
  async #usePicture(connection) {
    if (connection.changing) return undefined; // whoever waits for that one sends this one next
    while (connection.source !== this.picture) {
      const file = this.picture;
      let warnings = [];
      let failure = null;
      this.portrait.say("Preparing the portrait…");
      try {
        warnings = await connection.putSource(file);
      } catch (error) {
        failure = error;
      }
      if (this.connection !== connection) return undefined; // stopped meanwhile
      if (this.picture === file) return failure ? this.#dropPicture(connection, failure) : this.#takePicture(warnings);
    }
    return undefined;
  }

  /** The chosen picture is in use. */
  #takePicture(warnings) {
    this.#showPortrait(this.picture, this.picture.name);
    this.portrait.say(warnings.length ? warnings.map(sentence).join(" ") : undefined);
    return ["The portrait is in use", "live"];
  }

  /** The chosen picture can't be used: the session keeps the one that it has. */
  #dropPicture(connection, error) {
    this.picture = connection.source;
    this.#showPortrait(this.picture ?? this.serversPicture, this.picture?.name ?? SERVERS);
    this.portrait.say(error.detail ? sentence(error.detail) : explain(error).text, true);
    return ["The picture cannot be used", "bad"];
  }

  async switchCamera() {
    if (this.state !== State.LIVE) return;
    const { connection } = this;
    try {
      this.stage.showSelf(await this.camera.open(part("camera").value));
      await connection.replaceTrack(this.camera.track);
    } catch (error) {
      if (this.connection === connection && error.kind !== "overtaken") this.fail(error);
    }
  }

  /** Fills the picker. What was chosen there stays chosen, as long as that camera is there. */
  async listCameras() {
    const picker = part("camera");
    const cameras = await this.camera.list();
    const chosen = picker.value;
    const options = cameras.map(({ id, label }) => new Option(label, id));
    picker.replaceChildren(new Option("Default camera", ""), ...options);
    picker.value = cameras.some(({ id }) => id === chosen) ? chosen : "";
  }

  async showServersPortrait() {
    this.serversPicture = await this.api.portrait();
    this.#showPortrait(this.serversPicture, SERVERS);
  }

  #showPortrait(source, name) {
    this.portrait.show(source, name);
    this.stage.showStill(source);
  }

  #sendControls(controls) {
    this.connection?.send({ type: "controls", controls });
  }

  #hear(connection, message) {
    if (this.connection !== connection) return;
    if (message.type === "hello") this.#sendControls(this.settings.values);
    else if (message.type === "face") this.stage.showFace(message.found);
    else if (message.type === "picture") this.#hearDrawn(message.drawn);
    else if (message.type === "stats") this.figures.hear(message);
    else if (message.type === "reply" && !message.ok) this.#note(sentence(message.detail), "bad");
  }

  #hearDrawn(drawn) {
    this.drawn = drawn;
    if (this.state === State.LIVE) this.#say(...this.#rest());
  }

  #enter(state, words, tone) {
    if (!NEXT[this.state].includes(state)) throw new Error(`no way from ${this.state} to ${state}`);
    this.state = state;
    const button = part("start");
    button.textContent = state === State.IDLE ? "Start" : "Stop";
    button.classList.toggle("running", state !== State.IDLE);
    part("calibrate").disabled = state !== State.LIVE;
    this.#say(words, tone);
  }

  /** What the status line says of a live session when there is nothing else to say. */
  #rest() {
    return this.drawn ? ["Live", "live"] : [NOT_DRAWN, "bad"];
  }

  /** Says something for a while, then how things stand. */
  #note(words, tone) {
    this.#say(words, tone);
    this.noteOver = setTimeout(() => this.#say(...this.#rest()), NOTE_MS);
  }

  #say(words, tone) {
    clearTimeout(this.noteOver);
    part("status").textContent = words;
    part("status").dataset.tone = tone;
  }
}

async function open() {
  watchToken();
  const api = new Api(takeToken());
  try {
    const page = new Page(api, await api.config());
    await Promise.all([page.showServersPortrait(), page.listCameras()]);
    if (!navigator.mediaDevices) throw new CameraFailure("insecure");
  } catch (error) {
    refuse(explain(error));
  }
}

/** Nothing can start on this page: say why. */
function refuse(problem) {
  part("start").disabled = true;
  part("status").textContent = problem.title;
  part("status").dataset.tone = "bad";
  part("idle").hidden = true;
  part("notice").hidden = false;
  part("notice-title").textContent = problem.title;
  part("notice-text").textContent = problem.text;
}

await open();
