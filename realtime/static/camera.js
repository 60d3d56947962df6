// The camera: which ones there are, the one that is open, and why it won't open.

const PICTURE = { width: { ideal: 640 }, height: { ideal: 480 }, frameRate: { ideal: 30 } };

const KINDS = {
  NotAllowedError: "refused",
  SecurityError: "refused",
  NotFoundError: "missing",
  OverconstrainedError: "missing",
  NotReadableError: "busy",
  AbortError: "busy",
};

/** `kind`: insecure, refused, missing, busy or unplugged; or overtaken: another call came meanwhile, and nothing is wrong. */
export class CameraFailure extends Error {
  constructor(kind, cause) {
    super(`camera ${kind}`, { cause });
    this.name = "CameraFailure";
    this.kind = kind;
  }
}

/** Fires `devices` when cameras come or go, and `unplugged` when the open one does. */
export class Camera extends EventTarget {
  constructor(devices = navigator.mediaDevices) {
    super();
    this.devices = devices; // undefined where the page is not a secure context
    this.stream = null;
    this.ticket = 0; // counts what was asked for: an answer to anything but the last of it comes too late
    devices?.addEventListener("devicechange", () => this.dispatchEvent(new Event("devices")));
  }

  /** Cameras as {id, label}. Before the camera was allowed, browsers tell neither. */
  async list() {
    const all = (await this.devices?.enumerateDevices()) ?? [];
    const named = all.filter((device) => device.kind === "videoinput" && device.deviceId);
    return named.map((device, index) => ({ id: device.deviceId, label: device.label || `Camera ${index + 1}` }));
  }

  /**
   * Opens a camera, "" for the default one, and closes the one before. `close` and another `open` overtake it.
   * Throws CameraFailure.
   */
  async open(id) {
    if (!this.devices?.getUserMedia) throw new CameraFailure("insecure");
    // Phones have one camera device open at a time: the old one goes first.
    this.close();
    const { ticket } = this;
    const choice = id ? { deviceId: { exact: id } } : { facingMode: "user" };
    let stream;
    try {
      stream = await this.devices.getUserMedia({ video: { ...PICTURE, ...choice }, audio: false });
    } catch (error) {
      throw new CameraFailure(ticket === this.ticket ? KINDS[error.name] ?? "busy" : "overtaken", error);
    }
    if (ticket !== this.ticket) {
      release(stream);
      throw new CameraFailure("overtaken");
    }
    const [track] = stream.getVideoTracks();
    track.contentHint = "motion"; // under load, fewer pixels rather than fewer frames
    track.addEventListener("ended", () => {
      if (this.stream === stream) this.dispatchEvent(new Event("unplugged"));
    });
    this.stream = stream;
    this.dispatchEvent(new Event("devices"));
    return stream;
  }

  get track() {
    return this.stream?.getVideoTracks()[0] ?? null;
  }

  close() {
    const { stream } = this;
    this.ticket += 1;
    this.stream = null;
    release(stream);
  }
}

function release(stream) {
  stream?.getTracks().forEach((track) => track.stop());
}
