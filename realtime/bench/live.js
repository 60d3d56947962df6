// Put into the page before its own scripts. Notes every frame that the page shows of its camera and of the avatar: when,
// and how bright the cells of its bar code are. `live.py` makes counters, delays and counts of it.
//
// Only the strip's four middle rows of the frame's own luminance are read: no canvas, no colour conversion, no scaling.

(() => {
  const CELLS = 20;
  const TOP = 2; // first row read; an eighth of the strip, see barcode.py
  const ROWS = 4;
  const samples = { self: [], avatar: [] }; // rows of [shown ms, captured ms or null, frames presented so far, CELLS levels …]
  const peers = [];
  const stats = []; // the server's own, once a second

  window.RTCPeerConnection = class extends window.RTCPeerConnection {
    constructor(...settings) {
      super(...settings);
      peers.push(this);
    }

    createDataChannel(...settings) {
      const channel = super.createDataChannel(...settings);
      channel.addEventListener("message", (event) => {
        const message = JSON.parse(event.data);
        if (message.type === "stats") stats.push(message);
      });
      return channel;
    }
  };

  // The page asks for the size that suits the product; a measurement wants the camera as it is.
  const open = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
  navigator.mediaDevices.getUserMedia = ({ video, ...rest }) => open({ ...rest, video: { ...video, ...window.reenactCamera } });

  async function levels(frame) {
    if (!/^(I420|NV12)/.test(frame.format ?? "")) throw new Error(`frames are ${frame.format}, not planes of luminance`);
    const { x, y, width } = frame.visibleRect;
    const rect = { x, y: y + TOP, width: width & ~1, height: ROWS };
    const bytes = new Uint8Array(frame.allocationSize({ rect }));
    const [{ offset, stride }] = await frame.copyTo(bytes, { rect });
    const cell = rect.width / CELLS;
    return Array.from({ length: CELLS }, (_, number) => {
      const from = Math.floor(cell * (number + 0.25));
      const to = Math.ceil(cell * (number + 0.75));
      let sum = 0;
      for (let row = 0; row < ROWS; row += 1) {
        for (let column = from; column < to; column += 1) sum += bytes[offset + row * stride + column];
      }
      return sum / (ROWS * (to - from));
    });
  }

  function watch(video, rows) {
    const note = async (now, { presentationTime, captureTime, presentedFrames }) => {
      video.requestVideoFrameCallback(note);
      const frame = new VideoFrame(video);
      try {
        rows.push([presentationTime, captureTime ?? null, presentedFrames, ...(await levels(frame))]);
      } finally {
        frame.close();
      }
    };
    video.requestVideoFrameCallback(note);
  }

  async function rtp() {
    const found = {};
    for (const entry of (await peers.at(-1).getStats()).values()) {
      if (entry.kind === "video" && (entry.type === "inbound-rtp" || entry.type === "outbound-rtp")) found[entry.type] = entry;
      if (entry.type === "codec" && entry.mimeType?.startsWith("video/")) found.codec ??= entry.mimeType;
    }
    return found;
  }

  window.reenactBench = {
    start() {
      for (const name of Object.keys(samples)) watch(document.getElementById(name), samples[name]);
    },

    /** What was noted since the last call, and the browser's counts so far. */
    async take() {
      const taken = { self: samples.self.splice(0), avatar: samples.avatar.splice(0), stats: stats.splice(0) };
      return { ...taken, ...(await rtp()), at: performance.now() };
    },
  };
})();
