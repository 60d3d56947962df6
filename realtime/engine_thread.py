"""The thread that renders for all sessions of a server: it takes at most one newest frame a session, and
several of them together.
"""

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import NamedTuple

from models.contract import Observation
from realtime.avatar import Avatar
from realtime.batching import Batch, Batcher
from realtime.engine import Begun, Engine, Rendered, Request

log = logging.getLogger(__name__)


class Late(Exception):
    """A frame that waited too long to be worth drawing."""


@dataclass
class _Job:
    request: Request
    future: "Future[Rendered]"


class _Work(NamedTuple):
    """Frames that are being drawn."""

    jobs: list[_Job]
    begun: Begun


class EngineThread:
    """The one thread that renders.

    batcher: says which frames are drawn together, and when. clock: seconds, for it. on_death: called in the
    thread if it ends for another reason than `stop`: nothing is drawn any more.
    """

    def __init__(
        self,
        engine: Engine,
        batcher: "Batcher[_Job] | None" = None,
        clock: Callable[[], float] = time.monotonic,
        on_death: Callable[[], object] = lambda: None,
    ) -> None:
        self._engine = engine
        self.on_death = on_death
        self.died = False
        self._batcher: Batcher[_Job] = Batcher() if batcher is None else batcher
        self._clock = clock
        self._left: list[Avatar] = []  # whose sessions are over
        self._ready = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._live, name="engine", daemon=True)

    def start(self) -> None:
        self._thread.start()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive() and not self._stopping and not self.died

    def submit(self, avatar: Avatar, observation: Observation, time_s: float) -> "Future[Rendered]":
        """Ask for a frame. A request of the same avatar that was still waiting is cancelled: the newest
        wins. One that waits too long fails with `Late`."""
        job = _Job(Request(avatar, observation, time_s), Future())
        with self._ready:
            if self._stopping:
                raise RuntimeError("the engine has stopped")
            replaced = self._batcher.put(id(avatar), job, self._clock())
            self._ready.notify()
        if replaced is not None:
            replaced.future.cancel()
        return job.future

    def forget(self, avatar: Avatar) -> None:
        """The avatar's session is over: nobody waits for its frames any more, and its place is free."""
        with self._ready:
            job = self._batcher.forget(id(avatar))
            self._left.append(avatar)
            self._ready.notify()
        if job is not None:
            job.future.cancel()

    def stop(self) -> None:
        """Finish the frames in hand, cancel the rest, and end the thread."""
        with self._ready:
            self._stopping = True
            self._ready.notify()
        self._thread.join()
        for job in self._batcher.clear():
            job.future.cancel()

    def _live(self) -> None:
        try:
            self._run()
        except BaseException:  # whatever it was, the server has to know
            log.exception("the engine's thread has died")
            self.died = True
            self.on_death()

    def _run(self) -> None:
        """While one batch is drawn on the device, the next one may begin; then the first is waited for."""
        work: _Work | None = None
        while (batch := self._next(wait=work is None)) is not None:
            before, work = work, self._begun(batch)
            if before is not None:
                self._deliver(before)
            if work is not None and work.begun.over:
                self._deliver(work)
                work = None
            del batch, before  # or an ended session's avatar would stay until another asks for a frame
        if work is not None:
            self._deliver(work)

    def _begun(self, batch: Batch[_Job]) -> _Work | None:
        """The batch under way; None where nothing is to be waited for."""
        for job in batch.late:
            if job.future.set_running_or_notify_cancel():
                job.future.set_exception(Late())
        jobs = [job for job in batch.frames if job.future.set_running_or_notify_cancel()]
        if not jobs:
            return None
        try:
            return _Work(jobs, self._engine.begin([job.request for job in jobs]))
        except Exception as error:  # a bad frame must not end every session: theirs hear of it
            for job in jobs:
                job.future.set_exception(error)
            return None

    def _next(self, wait: bool) -> Batch[_Job] | None:
        """The next frames to draw, once there are some; None when it is time to end. wait: for them, or else
        give none."""
        with self._ready:
            while not self._stopping:
                while self._left:
                    self._left.pop().leave()
                wait_s = self._batcher.wait_s(self._clock())
                if wait_s == 0:
                    return self._batcher.take(self._clock())
                if not wait:
                    return Batch([], [])
                self._ready.wait(wait_s)
        return None

    def _deliver(self, work: _Work) -> None:
        """Wait until a batch is drawn, and hand it out."""
        for job, found in zip(work.jobs, self._engine.finish(work.begun), strict=True):
            if isinstance(found, Exception):
                job.future.set_exception(found)
            else:
                job.future.set_result(found)
