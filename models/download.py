"""A file of the web whose size and SHA-256 are known. What has come of it is never asked for twice: neither
when a connection drops, nor when the program was killed and is run again.
"""

import http.client
import re
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path

from models.weights import file_sha256, naming

PIECE = 1 << 18  # bytes at a time
PATIENCE_S = 30.0  # without a byte
PAUSES_S = (1.0, 2.0, 4.0, 8.0)  # between attempts that bring nothing
PASSING = {408, 429, 500, 502, 503, 504}  # answers after which it is worth to ask again
RANGE = re.compile(r"bytes (?:(\d+)-\d+|\*)/(\d+)")


class Unreachable(Exception):
    """The server doesn't answer, or not with the file. The message says which and how, in one line."""


class Broken(Exception):
    """An attempt that ended early. Its message says why."""

    def __init__(self, reason: str, passing: bool = True) -> None:
        super().__init__(reason)
        self.passing = passing


def download(
    url: str,
    path: Path,
    size: int,
    sha256: str,
    advance: Callable[[int], object] = lambda count: None,
    pause: Callable[[float], object] = time.sleep,
) -> None:
    """Complete the file at `path`, of which there may be a part or nothing.

    advance: called with the number of bytes there are now more. pause: waits so many seconds.
    Raises Unreachable where the server can't be had; what has come by then stays. Raises ValueError where it
    has another file; nothing of it stays. Raises OSError where the disk is full.
    """
    try:
        _complete(url, path, size, advance, pause)
        if (found := file_sha256(path)) != sha256:
            with naming(path):
                raise ValueError(f"SHA-256 {found[:12]}…, expected {sha256[:12]}…: removed, run it again")
    except ValueError:
        path.unlink()
        raise


def _complete(
    url: str, path: Path, size: int, advance: Callable[[int], object], pause: Callable[[float], object]
) -> None:
    with open(path, "ab") as file:
        if file.tell() > size:
            file.truncate(0)
        there = first = file.seek(0, 2)
        advance(there)
        pauses = iter(PAUSES_S)
        while there < size:
            before = there
            try:
                with _asked(url, there) as response:
                    begin = _begin(response, url, there, size)
                    file.truncate(begin)
                    advance(begin - there)
                    there = begin
                    while there < size:
                        piece = _read(response, min(PIECE, size - there))
                        file.write(piece)
                        there += len(piece)
                        advance(len(piece))
            except Broken as error:
                if there > before:
                    pauses = iter(PAUSES_S)
                # Whoever has no network at all need not wait to be told.
                wait = next(pauses, None) if error.passing or there > first else None
                if wait is None:
                    raise Unreachable(f"{url}: {error}") from None
                pause(wait)


def _asked(url: str, start: int) -> http.client.HTTPResponse:
    """The answer to a request for the file from there on."""
    import truststore

    headers = {"User-Agent": "reenact", "Range": f"bytes={start}-"}
    try:
        request = urllib.request.Request(url, headers=headers if start else {"User-Agent": "reenact"})
        # The system's own certificates, which Python finds on some systems only.
        context = truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        found: http.client.HTTPResponse = urllib.request.urlopen(request, timeout=PATIENCE_S, context=context)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise ValueError(f"{url} has fewer than {start} bytes, so it is another file") from None
        raise Broken(f"the server answers {error.code} {error.reason}", error.code in PASSING) from None
    except (OSError, http.client.HTTPException) as error:
        raise Broken(f"can't be reached ({_reason(error)})", passing=False) from None
    return found


def _begin(response: http.client.HTTPResponse, url: str, start: int, size: int) -> int:
    """From which byte on the answer is the file: from the start for servers that can't go on."""
    begin, total = 0, response.headers.get("Content-Length")
    if response.status == HTTPStatus.PARTIAL_CONTENT:
        told = RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if told is None or int(told[1] or -1) != start:
            raise Broken("the server answers with another part than was asked for", passing=False)
        begin, total = start, told[2]
    if total is not None and int(total) != size:
        raise ValueError(f"{url} has {int(total):,} bytes, expected {size:,}: it is another file")
    return begin


def _read(response: http.client.HTTPResponse, most: int) -> bytes:
    """One piece or less."""
    try:
        piece = response.read1(most)
    except (OSError, http.client.HTTPException) as error:
        raise Broken(f"the connection broke ({_reason(error)})") from None
    if not piece:
        raise Broken("the connection ended early")
    return piece


def _reason(error: Exception) -> str:
    """Of a failure of the network, without its kind."""
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    words = getattr(cause, "strerror", None) or str(cause) or type(cause).__name__
    return " ".join(str(words).split())
