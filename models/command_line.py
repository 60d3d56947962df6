"""Command lines from settings: tyro reads the options off the fields and their docstrings. What a person
typed wrong is told in one line."""

import contextlib
import io
import re
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import dropwhile, takewhile
from typing import NoReturn, TypeVar

T = TypeVar("T")

INTERRUPTED = 130  # exit code after Ctrl-C

# Of the boxes that tyro draws round its messages; a line of hyphens where the terminal isn't called "utf-8".
FRAME = re.compile(r"[╭╮╰╯│─]+|^ *-+ *$")


def parse(
    settings: type[T],
    arguments: Sequence[str],
    program: str,
    about: str | None,
    repeated: bool = False,
    default: T | None = None,
) -> T:
    """The settings that a command line asks for. `--help` prints and exits; a mistake, and a ValueError of
    the settings, exits with one line and code 2.

    repeated: an option with several values is given once for each of them; else once, before all of them.
    default: what holds where nothing is said; None: the fields' own defaults.
    """
    import tyro

    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return tyro.cli(
                settings,
                prog=program,
                description=about,
                args=list(arguments),
                default=tyro.MISSING_NONPROP if default is None else default,
                config=(tyro.conf.FlagCreatePairsOff, *([tyro.conf.UseAppendAction] if repeated else [])),
            )
    except SystemExit as end:
        if end.code in (0, None):
            raise
        fail(f"{_message(said.getvalue(), settings.__name__)} (--help lists the options)", program)


def tell(line: str, program: str) -> None:
    """One line for the person at the terminal, beside what is printed."""
    print(f"{program}: {' '.join(line.split())}", file=sys.stderr, flush=True)


def fail(reason: str, program: str) -> NoReturn:
    """End the program because of what its user asked for: one line, exit code 2."""
    tell(reason, program)
    raise SystemExit(2)


def reported(work: Callable[[], object], program: str, stopped: str = "stopped") -> int:
    """Do the work, and return the program's exit code: 0; 2 and one line for what can't be done (ValueError,
    OSError); 130 and the line `stopped` after Ctrl-C."""
    try:
        work()
    except OSError as error:
        tell(f"{error.filename or 'error'}: {error.strerror or error}", program)
        return 2
    except ValueError as error:
        tell(str(error), program)
        return 2
    except KeyboardInterrupt:
        tell(stopped, program)
        return INTERRUPTED
    return 0


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


def _message(box: str, settings: str) -> str:
    """What a message box says, without its frame, and without the options' help that follows after the
    first rule or empty line."""
    lines = [FRAME.sub("", line).strip() for line in box.splitlines()[1:]]
    said = takewhile(bool, dropwhile(lambda line: not line, lines))
    return " ".join(said).removeprefix("Error parsing ").removeprefix(f"{settings}: ")
