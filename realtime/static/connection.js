// One session with the server: WHIP for the offer and the answer, the camera out, the avatar in, a data channel for the rest.

import { Refusal, Unreachable } from "./api.js";

const GATHERING_MS = 1000; // host candidates are there within this; a STUN server that hangs must not hold the start up
const CONNECTING_MS = 15000;
const GOODBYE_MS = 3000; // for the server to answer that the session is over
const SILENCE_MS = 5000; // the server pings once a second

/** `reason`: network, path (calls get through, media does not), shutdown, deleted, timeout or error. */
export class ConnectionLost extends Error {
  constructor(reason) {
    super(`connection lost: ${reason}`);
    this.name = "ConnectionLost";
    this.reason = reason;
  }
}

/**
 * Fires `message` (detail: what the server said on the data channel) and `lost` (detail: a ConnectionLost), the latter at
 * most once and never after `close`.
 */
export class Connection extends EventTarget {
  constructor(api, iceServers) {
    super();
    this.api = api;
    this.peer = new RTCPeerConnection({ iceServers, bundlePolicy: "max-bundle" });
    this.peer.addEventListener("connectionstatechange", () => this.#watchPeer());
    this.channel = this.peer.createDataChannel("control");
    this.channel.addEventListener("message", (event) => this.#hear(event));
    this.channel.addEventListener("close", () => this.#loseWay());
    this.sender = null;
    this.session = null; // the server's path for it
    this.source = null; // the portrait that was put in use, a File; null for the server's
    this.changing = false; // is another portrait on its way?
    this.reached = false; // was the server ever heard on the way that media takes?
    this.ended = false;
    this.silence = null;
  }

  /** Resolves to the avatar's stream, which begins with `replaceTrack`. Throws Refusal, Unreachable, ConnectionLost. */
  async open() {
    const transceiver = this.peer.addTransceiver("video", { direction: "sendrecv" });
    this.sender = transceiver.sender;
    transceiver.receiver.jitterBufferTarget = 0; // a late frame is worth nothing here
    await this.peer.setLocalDescription(await this.peer.createOffer());
    await this.#gathered();
    if (this.ended) throw new ConnectionLost("network");
    const response = await this.api.call("POST", "/whip", {
      body: this.peer.localDescription.sdp,
      type: "application/sdp",
    });
    this.session = response.headers.get("Location");
    const answer = await response.text();
    if (this.ended) {
      this.#free();
      throw new ConnectionLost("network");
    }
    await this.peer.setRemoteDescription({ type: "answer", sdp: answer });
    await this.#connected();
    return new MediaStream([transceiver.receiver.track]);
  }

  /** Sends this camera's track from now on. */
  async replaceTrack(track) {
    await this.sender.replaceTrack(track);
  }

  /** Sends one command. Without an open channel it is lost, as the session is. */
  send(message) {
    if (this.channel.readyState === "open") this.channel.send(JSON.stringify(message));
  }

  /** Puts another portrait in use, one at a time, and resolves to the server's warnings about it. Throws Refusal, Unreachable. */
  async putSource(file) {
    const path = `/api/sessions/${this.session.split("/").pop()}/source`;
    this.changing = true;
    try {
      const response = await this.api.call("PUT", path, { body: file, type: file.type || "application/octet-stream" });
      const { warnings = [] } = await response.json();
      this.source = file;
      return warnings;
    } finally {
      this.changing = false;
    }
  }

  /** Ends the session on both sides. Safe to call again. leaving: does the page go away? Then nothing can be waited for. */
  close(leaving = false) {
    if (this.ended) return;
    this.ended = true;
    clearTimeout(this.silence);
    const freed = this.#free();
    // Only then: a server that first sees the connection end knows no such session any more when the call comes.
    if (!leaving) freed.finally(() => this.peer.close());
    else this.peer.close();
  }

  async #free() {
    if (!this.session) return;
    const path = this.session;
    this.session = null;
    try {
      await this.api.call("DELETE", path, { keepalive: true, signal: AbortSignal.timeout(GOODBYE_MS) });
    } catch (error) {
      // The session is over either way; a server that is gone has nothing left to free.
      if (!(error instanceof Refusal || error instanceof Unreachable)) throw error;
    }
  }

  #lose(reason) {
    if (this.ended) return;
    this.close();
    this.dispatchEvent(new CustomEvent("lost", { detail: new ConnectionLost(reason) }));
  }

  #watchPeer() {
    const state = this.peer.connectionState;
    if (state === "failed" || state === "closed") this.#loseWay();
  }

  #loseWay() {
    this.#lose(this.reached ? "network" : "path");
  }

  #hear(event) {
    this.#expectMore();
    const message = JSON.parse(event.data);
    if (message.type === "ping") this.send({ type: "pong", n: message.n });
    else if (message.type === "closing") {
      this.session = null; // the server frees it by itself
      this.#lose(message.reason);
    }
    else this.dispatchEvent(new CustomEvent("message", { detail: message }));
  }

  /** A peer that vanished looks connected for half a minute; its pings stop at once. */
  #expectMore() {
    clearTimeout(this.silence);
    this.silence = setTimeout(() => this.#lose("network"), SILENCE_MS);
  }

  #gathered() {
    if (this.peer.iceGatheringState === "complete") return Promise.resolve();
    return new Promise((resolve) => {
      setTimeout(resolve, GATHERING_MS);
      this.peer.addEventListener("icegatheringstatechange", () => {
        if (this.peer.iceGatheringState === "complete") resolve();
      });
    });
  }

  #connected() {
    return new Promise((resolve, reject) => {
      const limit = setTimeout(() => this.#loseWay(), CONNECTING_MS);
      this.addEventListener("lost", (event) => reject(event.detail), { once: true });
      this.channel.addEventListener("open", () => {
        clearTimeout(limit);
        this.reached = true;
        this.#expectMore();
        resolve();
      }, { once: true });
    });
  }
}
