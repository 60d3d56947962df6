"""The data channel `control` of one session: commands in, replies, events and pings out, each a JSON
object."""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from aiortc import RTCDataChannel

from realtime.problems import Problem

log = logging.getLogger(__name__)

LABEL = "control"
MAX_MESSAGE = 16 * 2**10  # characters of one JSON message
MAX_UNSENT = 256 * 2**10  # bytes; a peer that reads nothing gets no more events
FLUSH_S = 0.5  # how long the last message may take to get through

Command = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]


class ControlChannel:
    """Speaks docs/protocol.md over one data channel.

    commands: type of message → what carries it out and returns the fields of the reply; Problem refuses.
    receive_source: the same for a picture that came in binary messages. clock: seconds.
    """

    def __init__(
        self,
        channel: RTCDataChannel,
        commands: dict[str, Command],
        receive_source: Callable[[bytes], Awaitable[dict[str, Any]]],
        max_upload: int,
        clock: Callable[[], float],
    ) -> None:
        self.last_message_s = clock()
        self.rtt_ms: float | None = None
        self._channel = channel
        self._commands = commands
        self._receive_source = receive_source
        self._max_upload = max_upload
        self._clock = clock
        self._pings: dict[int, float] = {}  # number → when it was sent; the last few
        self._ping = 0
        self._upload: tuple[bytearray, int, Any] | None = (
            None  # what came, how much shall come, the command's id
        )
        self._tasks: set[asyncio.Task[None]] = set()
        self._drained = asyncio.Event()
        channel.on("message", self._on_message)
        channel.on("bufferedamountlow", self._drained.set)

    @property
    def open(self) -> bool:
        return bool(self._channel.readyState == "open")

    def send(self, kind: str, **fields: Any) -> None:
        """Send an event; nothing happens where the channel is not open, or its peer has stopped reading."""
        if self.open and self._channel.bufferedAmount < MAX_UNSENT:
            self._channel.send(json.dumps({"type": kind, **fields}))

    def ping(self) -> None:
        """Ask for a sign of life."""
        self._ping += 1
        self._pings[self._ping] = self._clock()
        self._pings.pop(self._ping - 20, None)
        self.send("ping", n=self._ping)

    async def flush(self) -> None:
        """Wait until the peer has everything that was sent, but not for long."""
        self._drained.clear()
        if self.open and self._channel.bufferedAmount:
            try:
                await asyncio.wait_for(self._drained.wait(), FLUSH_S)
            except TimeoutError:
                log.debug("the last message was not confirmed in time")

    async def close(self) -> None:
        """Stop the commands in hand."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _on_message(self, data: str | bytes) -> None:
        self.last_message_s = self._clock()
        if isinstance(data, bytes):
            self._on_part(data)
            return
        try:
            if len(data) > MAX_MESSAGE:
                raise ValueError
            message = json.loads(data)
            kind = message["type"]
        except (ValueError, KeyError, TypeError, RecursionError):
            self._refuse(None, Problem(400, "not a JSON object with a type"))
            return
        if kind == "ping":
            self.send("pong", n=message.get("n"))
        elif kind == "pong":
            self._on_pong(message.get("n"))
        elif kind == "source":
            self._on_source(message)
        elif isinstance(kind, str) and kind in self._commands:
            self._run(message.get("id"), self._commands[kind](message))
        else:
            known = ", ".join(sorted([*self._commands, "ping", "pong", "source"]))
            self._refuse(message.get("id"), Problem(422, f"unknown type; known: {known}"))

    def _on_pong(self, number: object) -> None:
        sent_s = self._pings.pop(number, None) if isinstance(number, int) else None
        if sent_s is not None:
            self.rtt_ms = round(1e3 * (self._clock() - sent_s), 1)

    def _on_source(self, message: dict[str, Any]) -> None:
        size, ident = message.get("size"), message.get("id")
        if not isinstance(size, int) or size < 1:
            self._refuse(ident, Problem(422, "size must be the picture's number of bytes"))
        elif size > self._max_upload:
            self._refuse(ident, Problem(413, f"the picture may have at most {self._max_upload} bytes"))
        else:
            self._upload = (bytearray(), size, ident)

    def _on_part(self, data: bytes) -> None:
        if self._upload is None:
            self._refuse(None, Problem(422, "a picture's bytes came before its source message"))
            return
        got, size, ident = self._upload
        got += data
        if len(got) >= size:
            self._upload = None
            self._run(ident, self._receive_source(bytes(got[:size])))

    def _run(self, ident: object, command: Awaitable[dict[str, Any]]) -> None:
        task = asyncio.ensure_future(self._reply(ident, command))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _reply(self, ident: object, command: Awaitable[dict[str, Any]]) -> None:
        try:
            fields = await command
        except Problem as problem:
            self._refuse(ident, problem)
        except Exception:
            log.exception("a command over the data channel failed")
            self._refuse(ident, Problem(500, "something went wrong in the server; its log says what"))
        else:
            if ident is not None:
                self.send("reply", id=ident, ok=True, **fields)

    def _refuse(self, ident: object, problem: Problem) -> None:
        self.send("reply", id=ident, ok=False, status=problem.status, detail=problem.detail)
