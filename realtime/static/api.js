// The server's HTTP calls, with the bearer token, and its refusals as errors.

/** The server said no. `detail` is one sentence for a person. */
export class Refusal extends Error {
  constructor(status, detail) {
    super(detail);
    this.name = "Refusal";
    this.status = status;
    this.detail = detail;
  }
}

/** The server could not be reached at all. */
export class Unreachable extends Error {
  constructor(cause) {
    super("the server does not answer", { cause });
    this.name = "Unreachable";
  }
}

export class Api {
  constructor(token) {
    this.token = token;
  }

  /** A response whose status is 2xx. Throws Refusal, Unreachable, or an AbortError. */
  async call(method, path, { body, type, signal, keepalive } = {}) {
    const headers = {};
    if (this.token) headers.Authorization = `Bearer ${this.token}`;
    if (type) headers["Content-Type"] = type;
    let response;
    try {
      response = await fetch(path, { method, headers, body, signal, keepalive, cache: "no-store" });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Unreachable(error);
    }
    if (!response.ok) throw await refusal(response);
    return response;
  }

  async config() {
    return (await this.call("GET", "/api/config")).json();
  }

  /** The portrait that a session starts with, as a Blob. */
  async portrait() {
    return (await this.call("GET", "/api/portrait")).blob();
  }
}

async function refusal(response) {
  const kind = response.headers.get("Content-Type") ?? "";
  const problem = kind.startsWith("application/problem+json") ? await response.json() : {};
  return new Refusal(response.status, problem.detail ?? `the server answered ${response.status}`);
}
