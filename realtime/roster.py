"""The sessions of a server: how many fit, which there are, and how they end."""

import asyncio
import gc
import logging

from realtime.problems import Problem
from realtime.session import Services, Session

log = logging.getLogger(__name__)

RETRY_AFTER_S = 5


class Roster:
    """At most `slots` sessions at a time."""

    def __init__(self, services: Services, slots: int) -> None:
        self.services = services
        self.slots = slots
        self.draining = False
        self._sessions: dict[str, Session] = {}
        self._endings: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._sessions)

    def __getitem__(self, ident: str) -> Session:
        """The session of that id. Raises Problem where there is none."""
        session = self._sessions.get(ident)
        if session is None:
            raise Problem(404, "there is no such session, or no more")
        return session

    @property
    def unready(self) -> str | None:
        """Why no new session can begin; None where one can."""
        if self.draining:
            return "the server is shutting down"
        if not self.services.engine_thread.alive:
            return "the engine has stopped"
        if len(self._sessions) >= self.slots:
            return "all places are taken: try again in a moment"
        return None

    async def open(self, offer: str) -> tuple[Session, str]:
        """A new session and its SDP answer. Raises Problem where there is no place, or the offer cannot be
        served."""
        reason = self.unready
        if reason is not None:
            raise Problem(503, reason, {"Retry-After": str(RETRY_AFTER_S)})
        session = Session(self.services, self.end)
        self._sessions[session.id] = session  # takes the slot before anything is awaited
        self.services.metrics.sessions.set(len(self._sessions))
        try:
            return session, await session.open(offer)
        except BaseException:  # also where the request is cancelled: the slot must not stay taken
            await asyncio.shield(self.end(session, "error"))
            raise

    def end(self, session: Session, reason: str) -> "asyncio.Task[None]":
        """Close a session and free its slot. reason: a key of `CLOSING_TEXTS`."""
        task = asyncio.create_task(self._end(session, reason))
        self._endings.add(task)
        task.add_done_callback(self._endings.discard)
        return task

    async def close(self) -> None:
        """Take no more sessions, tell those there are, and close them."""
        self.draining = True
        for session in list(self._sessions.values()):
            self.end(session, "shutdown")
        while self._endings:
            await asyncio.gather(*self._endings, return_exceptions=True)

    async def _end(self, session: Session, reason: str) -> None:
        try:
            await session.close(reason)
        except Exception:  # the others have to be closed too
            log.exception("a session broke down while it was closed")
        finally:
            if self._sessions.pop(session.id, None) is not None:
                self.services.metrics.sessions.set(len(self._sessions))
                self.services.metrics.ended.labels(reason).inc()
                log.info("session ended: %s; %d left", reason, len(self._sessions))
        # A peer connection is a web of cycles that holds codecs with threads and pictures of their own, and
        # Python would let them lie for many sessions. What was there at the start is frozen: this is quick.
        gc.collect()
