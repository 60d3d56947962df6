"""How far a long work is, for whoever waits: a bar on a terminal, a line every tenth elsewhere."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple, TextIO


class Progress(NamedTuple):
    """How far it is."""

    done: int  # with what was there before
    total: int
    new: int  # what this run did


def shown(
    progress: Iterable[Progress],
    weight: int = 1,
    unit: str = "clips",
    stream: TextIO | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Progress]:
    """The same, shown on `stream` (by default the error stream). weight: of how many `unit` one is made; in
    these the rate is told."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    console = Console(file=stream or sys.stderr)
    columns = BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"), TimeRemainingColumn()
    began, tenth = clock(), -1
    with Bar(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task("", total=None)
        for one in progress:
            seconds = max(clock() - began, 1e-9)
            rate = f"{one.new * weight / seconds:.0f} {unit}/s"
            bar.update(task, completed=one.done, total=one.total, description=rate)
            if not console.is_terminal and 10 * one.done // max(one.total, 1) > tenth:
                tenth = 10 * one.done // max(one.total, 1)
                left = (one.total - one.done) * seconds / one.new if one.new else 0
                print(_line(one, rate, left), file=stream or sys.stderr, flush=True)
            yield one


def _line(one: Progress, rate: str, left: float) -> str:
    line = f"{one.done} of {one.total}"
    return f"{line}, {rate}, {left / 60:.0f} min left" if one.new and one.done < one.total else line
