"""A server with what the Hugging Face hub has of a repository, and with its mishaps."""

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

RESOLVE = "/KwaiVGI/LivePortrait/resolve/main/"
STORE = "/store/"  # where the hub sends on to


@dataclass
class Hub:
    files: dict[str, bytes]  # by their path in the repository
    asked: list[tuple[str, str]] = field(default_factory=list)  # name and Range of each request to the store
    drops: list[int] = field(default_factory=list)  # after how many bytes the next answers end
    statuses: list[int] = field(default_factory=list)  # of the next answers, instead of the file
    goes_on: bool = True  # knows Range
    rude: bool = False  # drops by a reset
    dropped: Callable[[], Any] = lambda: None  # called before a connection drops
    address: str = ""


@contextmanager
def serving(files: dict[str, bytes]) -> Iterator[Hub]:
    hub = Hub(files)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            if self.path.startswith(RESOLVE):
                self._empty(302, {"Location": STORE + self.path.removeprefix(RESOLVE)})
                return
            path = self.path.removeprefix(STORE)
            asked = self.headers.get("Range", "")
            hub.asked.append((path.rpartition("/")[2], asked))
            data = hub.files.get(path)
            if hub.statuses:
                self._empty(hub.statuses.pop(0))
            elif data is None:
                self._empty(404)
            else:
                self._send(data, int(asked.removeprefix("bytes=").removesuffix("-") or 0))

        def _send(self, data: bytes, start: int) -> None:
            if start and start >= len(data):
                self._empty(416, {"Content-Range": f"bytes */{len(data)}"})
                return
            if start and hub.goes_on:
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
            else:
                start = 0
                self.send_response(200)
            self.send_header("Content-Length", str(len(data) - start))
            self.end_headers()
            if hub.drops:
                self.wfile.write(data[start : start + hub.drops.pop(0)])
                self.wfile.flush()
                hub.dropped()
                self.close_connection = True
                if hub.rude:
                    linger = struct.pack("ii", 1, 0)
                    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            else:
                with suppress(ConnectionError):  # of whoever has seen enough
                    self.wfile.write(data[start:])

        def _empty(self, status: int, headers: dict[str, str] | None = None) -> None:
            self.send_response(status)
            for name, value in {**(headers or {}), "Content-Length": "0"}.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Nothing: tests look at `asked`."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        hub.address = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield hub
        finally:
            server.shutdown()
            thread.join()
