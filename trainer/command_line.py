"""Command lines from settings: tyro reads the options off the fields and their docstrings. What a person
typed wrong is told in one line."""

import contextlib
import io
import re
import sys
from collections.abc import Sequence
from typing import NoReturn, TypeVar

import tyro

T = TypeVar("T")

FRAME = re.compile(r"[╭╮╰╯│─]+")  # of the boxes that tyro draws round its messages


def parse(settings: type[T], arguments: Sequence[str], program: str, about: str | None) -> T:
    """The settings that a command line asks for. `--help` prints and exits; a mistake, and a ValueError of
    the settings, exits with one line and code 2."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return tyro.cli(
                settings,
                prog=program,
                description=about,
                args=list(arguments),
                config=(tyro.conf.FlagCreatePairsOff,),
            )
    except SystemExit as end:
        if end.code in (0, None):
            raise
        fail(f"{_message(said.getvalue(), settings.__name__)} (--help lists the options)", program)
    except ValueError as error:
        fail(str(error), program)


def tell(line: str, program: str) -> None:
    """One line for the person at the terminal, beside what is printed."""
    print(f"{program}: {' '.join(line.split())}", file=sys.stderr, flush=True)


def fail(reason: str, program: str) -> NoReturn:
    """End the program because of what its user asked for: one line, exit code 2."""
    tell(reason, program)
    raise SystemExit(2)


def _message(box: str, settings: str) -> str:
    """What a message box says before its first rule or empty line."""
    lines: list[str] = []
    for line in box.splitlines()[1:]:
        text = FRAME.sub("", line).strip()
        if not text:
            break
        lines.append(text)
    return " ".join(lines).removeprefix("Error parsing ").removeprefix(f"{settings}: ")
