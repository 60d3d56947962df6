// What went wrong, in plain words: every failure that a person can meet becomes a title, what to do, and a button.

import { Refusal, Unreachable } from "./api.js";
import { CameraFailure } from "./camera.js";
import { ConnectionLost } from "./connection.js";

const CAMERA = {
  insecure: {
    title: "The camera needs a secure address",
    text: "Browsers open a camera only over https. Start the server with --tls self-signed and open the address it prints.",
  },
  refused: {
    title: "The camera is not allowed",
    text: "Allow the camera for this page, with the camera icon in the address bar or in the browser's settings, then try again.",
    action: "Try again",
  },
  missing: {
    title: "No camera found",
    text: "Plug in a camera or switch it on, then try again.",
    action: "Try again",
  },
  busy: {
    title: "The camera is in use",
    text: "Another program or tab seems to hold the camera. Close it, then try again.",
    action: "Try again",
  },
  unplugged: {
    title: "The camera went away",
    text: "Plug it in again or choose another one, then start again.",
    action: "Start again",
  },
};

const LOST = {
  shutdown: {
    title: "The server is shutting down",
    text: "It ended this session. Reconnect once it runs again.",
    action: "Reconnect",
  },
  timeout: {
    title: "The session timed out",
    text: "The server saw nothing of your camera for a while.",
    action: "Reconnect",
  },
  deleted: {
    title: "The session was ended",
    text: "Somebody else ended it on the server.",
    action: "Start again",
  },
  error: {
    title: "The server ended the session",
    text: "Something went wrong there; its log says what.",
    action: "Reconnect",
  },
  path: {
    title: "No way for the video",
    text:
      "The server answers, but video does not get through to it. A firewall may block its path (UDP). " +
      "Another network may help; or have the server started with a relay, by its option --ice-server.",
    action: "Try again",
  },
  network: {
    title: "Connection lost",
    text: "The server can't be reached any more. Check the network, then reconnect.",
    action: "Reconnect",
  },
};

const STATUS = {
  401: {
    title: "This address is not complete",
    text: "The server wants a token. Open the whole address that it printed when it started, up to its end.",
  },
  403: {
    title: "The server refuses this address",
    text: "Open the page by the address that the server printed when it started.",
  },
};

const FULL = {
  title: "The server is full",
  text: "All places are taken. Try again in a moment.",
  action: "Try again",
};

/** {title, text, action?} for any error. */
export function explain(error) {
  if (error instanceof CameraFailure) return CAMERA[error.kind];
  if (error instanceof ConnectionLost) return LOST[error.reason] ?? LOST.network;
  if (error instanceof Unreachable) {
    return {
      title: "The server does not answer",
      text: "Check that it still runs and that this device is on its network.",
      action: "Try again",
    };
  }
  if (error instanceof Refusal) {
    if (error.status === 503 && error.detail.includes("shutting down")) return LOST.shutdown;
    if (error.status === 503 && error.detail.includes("places are taken")) return FULL;
    return STATUS[error.status] ?? { title: "The server refused", text: sentence(error.detail), action: "Try again" };
  }
  return { title: "Something went wrong", text: sentence(String(error?.message ?? error)), action: "Try again" };
}

/** The words with a capital and a full stop. */
export function sentence(words) {
  const text = words.charAt(0).toUpperCase() + words.slice(1);
  return /[.!?]$/.test(text) ? text : `${text}.`;
}
