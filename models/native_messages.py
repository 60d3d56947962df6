"""What C++ libraries say to the terminal."""

import contextlib
import logging
import os
import sys
from collections.abc import Iterator
from typing import TextIO


@contextlib.contextmanager
def native_messages_muted() -> Iterator[None]:
    """Keep what C++ libraries print to descriptor 2 from the error stream: MediaPipe and TensorFlow Lite
    start with a dozen warnings that nobody can act on and that no switch turns off. What Python writes to
    `sys.stderr`, and logs there, still comes through, by a copy of the descriptor."""
    usual = sys.stderr
    usual.flush()
    kept = os.dup(2)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        with open(os.dup(kept), "w", buffering=1, encoding=usual.encoding, errors=usual.errors) as copy:
            try:
                if _descriptor(usual) == 2:
                    _speak_through(copy)
                yield
            finally:
                _speak_through(usual)
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _descriptor(stream: TextIO) -> int | None:
    try:
        return stream.fileno()
    except (AttributeError, OSError):  # replaced by something that is no file
        return None


def _speak_through(stream: TextIO) -> None:
    """Make that the error stream, also for the log, which holds on to the one that it began with."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.StreamHandler) and handler.stream is sys.stderr:
            handler.setStream(stream)
    sys.stderr = stream
