"""Command lines from settings: tyro reads the options off the fields and their docstrings. What a person
typed wrong is told in one line."""

import contextlib
import io
import re
import signal
import sys
from collections.abc import Iterator, Sequence
from typing import NoReturn, TypeVar

import tyro

T = TypeVar("T")

FRAME = re.compile(r"[╭╮╰╯│─]+")  # of the boxes that tyro draws round its messages


def parse(settings: type[T], arguments: Sequence[str], program: str, about: str) -> T:
    """The settings that a command line asks for. `--help` prints and exits; a mistake exits with one line
    and code 2."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return tyro.cli(
                settings,
                prog=program,
                description=about,
                args=list(arguments),
                config=(tyro.conf.FlagCreatePairsOff, tyro.conf.UseAppendAction),
            )
    except SystemExit as end:
        if end.code in (0, None):
            raise
        fail(f"{_first_part(said.getvalue(), settings.__name__)} (--help lists the options)", program)


def fail(reason: str, program: str) -> NoReturn:
    """End the program because of what its user asked for: one line, exit code 2."""
    print(f"{program}: {' '.join(reason.split())}", file=sys.stderr)
    raise SystemExit(2)


@contextlib.contextmanager
def terminable() -> Iterator[None]:
    """Let SIGTERM end the program as an exception does, through every `finally`, with exit code 143. For
    the main thread."""

    def leave(number: int, frame: object) -> NoReturn:
        signal.signal(number, signal.SIG_IGN)  # a second one must not break off the cleaning up
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _first_part(box: str, settings: str) -> str:
    """What a message box says, without its frame, and without the options' help that follows after the
    first rule."""
    lines = []
    for line in box.splitlines()[1:]:
        text = FRAME.sub("", line).strip()
        if not text:
            break
        lines.append(text)
    return " ".join(lines).removeprefix("Error parsing ").removeprefix(f"{settings}: ")
