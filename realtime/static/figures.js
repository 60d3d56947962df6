// The live figures: frames a second, delay, share of frames dropped. Read once a second from the browser's and the server's counts.

const PERIOD_MS = 1000;
const NONE = "–";

export class Figures {
  /** outputs: {fps, delay, drops}, elements whose text is the figure. */
  constructor(outputs) {
    this.outputs = outputs;
    this.timer = null;
    this.clear();
  }

  start(peer) {
    this.stop();
    this.timer = setInterval(() => this.#read(peer), PERIOD_MS);
  }

  stop() {
    clearInterval(this.timer);
    this.timer = null;
    this.clear();
  }

  clear() {
    this.before = null;
    this.server = null;
    this.serverBefore = null;
    for (const output of Object.values(this.outputs)) output.textContent = NONE;
  }

  /** The server's `stats` message. */
  hear(stats) {
    this.serverBefore = this.server;
    this.server = stats;
    if (!this.serverBefore) return;
    const received = stats.received - this.serverBefore.received;
    const dropped = stats.dropped + stats.skipped - this.serverBefore.dropped - this.serverBefore.skipped;
    this.outputs.drops.textContent = received > 0 ? Math.round((100 * dropped) / received) : NONE;
  }

  async #read(peer) {
    const now = counts(await peer.getStats());
    const before = this.before;
    this.before = now;
    if (!before || this.timer === null || now.at === before.at) return;
    this.outputs.fps.textContent = Math.round((1000 * (now.decoded - before.decoded)) / (now.at - before.at));
    const delay = delayMs(now, before, this.server);
    this.outputs.delay.textContent = delay === null ? NONE : Math.round(delay);
  }
}

function counts(report) {
  const found = { at: 0, decoded: 0, decodeS: 0, buffered: 0, bufferS: 0, encoded: 0, encodeS: 0, rttS: null };
  for (const entry of report.values()) {
    if (entry.type === "inbound-rtp" && entry.kind === "video") {
      found.at = entry.timestamp;
      found.decoded = entry.framesDecoded ?? 0;
      found.decodeS = entry.totalDecodeTime ?? 0;
      found.buffered = entry.jitterBufferEmittedCount ?? 0;
      found.bufferS = entry.jitterBufferDelay ?? 0;
    } else if (entry.type === "outbound-rtp" && entry.kind === "video") {
      found.encoded = entry.framesEncoded ?? 0;
      found.encodeS = entry.totalEncodeTime ?? 0;
    } else if (entry.type === "candidate-pair" && entry.nominated) {
      found.rttS = entry.currentRoundTripTime ?? found.rttS;
    }
  }
  return found;
}

/** From the camera's frame to the avatar's: the browser's encoding, the way there and back, the server, buffer, decoding. */
function delayMs(now, before, server) {
  if (server?.delayMs == null) return null;
  const mean = (sum, count) => (now[count] > before[count] ? (now[sum] - before[sum]) / (now[count] - before[count]) : 0);
  const browserS = mean("encodeS", "encoded") + mean("bufferS", "buffered") + mean("decodeS", "decoded");
  return 1000 * (browserS + (now.rttS ?? 0)) + server.delayMs;
}
