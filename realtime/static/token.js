// The bearer token: it comes in the address's fragment, which browsers never send, and leaves the address bar at once.

const KEY = "reenact-token";

/** The token for this tab, or null where the server wants none. A reload keeps it. */
export function takeToken(location = window.location, history = window.history, storage = window.sessionStorage) {
  const fragment = new URLSearchParams(location.hash.slice(1));
  const token = fragment.get("token");
  if (!token) return storage.getItem(KEY);
  storage.setItem(KEY, token);
  fragment.delete("token");
  const rest = fragment.toString();
  history.replaceState(history.state, "", location.pathname + location.search + (rest ? `#${rest}` : ""));
  return token;
}

/** Begins anew where somebody opens an address with another token in this tab: the browser itself would load nothing. */
export function watchToken() {
  window.addEventListener("hashchange", () => {
    if (new URLSearchParams(window.location.hash.slice(1)).has("token")) window.location.reload();
  });
}
