"""Sessions that play a recording to an engine's thread."""

from concurrent.futures import Future, wait

from models.contract import Observation
from realtime.avatar import Avatar, Portrait
from realtime.bench.load import Frame, error_of, play
from realtime.bench.recording import FRAMES
from realtime.engine import Rendered
from realtime.engine_thread import EngineThread

OFFSET = 7  # frames of the recording, from one session to the next
LOOK_S = 0.2  # whether the engine lives, while frames are waited for


class Players:
    """So many sessions of an engine, all with the same portrait, each somewhere else in the recording. At the
    context's end the engine's thread draws what it is at, and ends."""

    def __init__(
        self, thread: EngineThread, source: Portrait, frames: list[Observation], sessions: int, fps: float
    ) -> None:
        self._avatars = [Avatar(source) for _ in range(sessions)]
        self._frames, self._fps = frames, fps
        self._thread = thread
        self._number = 0  # of each session's next frame
        self._last: dict[int, Future[Rendered]] = {}  # of each session, what came of its newest frame

    def __enter__(self) -> "Players":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.stop()

    def begin(self) -> None:
        """Have first frames drawn, with all that is prepared once: it may take seconds. Raises what the
        engine raises."""
        for session in range(len(self._avatars)):
            self.submit(session, 0)
        self._number = 1
        self._settle()
        for future in self._last.values():
            if (error := error_of(future)) is not None:
                raise error

    def play(self, warm_up: int, frames: int) -> list[Frame]:
        """Go on with so many frames of each session, after `warm_up` that are not in what is returned; the
        engine is at rest afterwards."""
        first = self._number
        self._number += warm_up + frames + 1
        played = play(
            lambda session, number: self.submit(session, first + number),
            len(self._avatars),
            self._fps,
            warm_up,
            frames,
        )
        self._settle()
        return played

    def submit(self, session: int, number: int) -> "Future[Rendered]":
        """A session's next frame, of that number."""
        seen = self._frames[(number + OFFSET * session) % FRAMES]
        future = self._thread.submit(self._avatars[session], seen, number / self._fps)
        self._last[session] = future
        return future

    def _settle(self) -> None:
        """Wait until nothing is left to draw. Raises RuntimeError where the engine's thread has died: nothing
        becomes of any frame any more."""
        while wait(self._last.values(), LOOK_S).not_done:
            if self._thread.died:
                raise RuntimeError("the engine's thread has died")
