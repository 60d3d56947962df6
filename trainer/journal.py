"""What a run writes about itself, on rank 0: its settings, its curves and its pictures.

    RUN/settings.json                    what runs: settings, commit, versions, machine
    RUN/log.jsonl                        a line for each time that numbers were written
    RUN/samples/NAME-00001234.png        what it drew at step 1234
    RUN/tensorboard/                     the same curves and pictures for TensorBoard

A line of the log holds `step`, `pictures` (seen so far), `time` (what the clock said, Unix seconds; it may
have been set back), `seconds` (spent so far in this run, over all its parts, by a clock that only goes
forward) and the numbers by their names; null is a number that was not finite.
"""

import json
import math
import os
import platform
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TextIO

import numpy as np
import torch
from torch import Tensor

from models.command_line import tell
from trainer.data.files import as_json, write_json, write_text
from trainer.data.pictures import encode_picture
from trainer.data.workers import cores
from trainer.drawings import to_levels

LOG, SETTINGS = "log.jsonl", "settings.json"
OWN = frozenset({"step", "pictures", "time", "seconds"})
PACKAGE = Path(__file__).parent


class Journal:
    """One run's. A disabled one (of the other ranks) takes everything and writes nothing."""

    def __init__(
        self,
        folder: Path,
        enabled: bool = True,
        clock: Callable[[], float] = time.time,
        stopwatch: Callable[[], float] = time.monotonic,
    ) -> None:
        """folder: the run's; made where it is not there.

        clock: seconds since 1970, only written down. stopwatch: seconds, never going back.
        """
        self._folder = folder
        self._enabled = enabled
        self._clock, self._stopwatch = clock, stopwatch
        self._begin = stopwatch()
        self._resumed = 0
        self._log: TextIO | None = None
        self._board: Any = None  # a SummaryWriter; None where there is no TensorBoard

    def describe(self, settings: Mapping[str, Any]) -> None:
        """Write settings.json anew. settings: as JSON takes them."""
        if self._enabled:
            self._folder.mkdir(parents=True, exist_ok=True)
            write_json(self._folder / SETTINGS, describe_run(settings))

    def resume(self, step: int) -> None:
        """Go on after that step (0: from the start), before anything is written. Lines of later steps, and a
        last one that was broken off, are cut off; pictures of later steps stay until they are drawn again.

        Raises ValueError for a log that is broken in its middle.
        """
        assert self._log is None, "resume comes before everything that is written"
        self._resumed = step
        path = self._folder / LOG
        if not self._enabled or not path.exists():
            return
        kept = [line for line in read_log(path) if line["step"] <= step]
        write_text(path, "".join(f"{json.dumps(line)}\n" for line in kept))
        self._begin = self._stopwatch() - max((line["seconds"] for line in kept), default=0.0)
        self._open("a")

    def scalars(self, step: int, pictures: int, values: Mapping[str, float]) -> None:
        """A line of the log, and a point of each curve. pictures: seen so far, of all ranks.

        Raises ValueError where the folder holds the log of a run that was not resumed.
        """
        if not self._enabled:
            return
        assert not OWN & set(values), f"names of the journal's own: {OWN & set(values)}"
        log = self._open("x")
        now = self._clock()
        line: dict[str, float | None] = {"step": step, "pictures": pictures, "time": round(now, 3)}
        line["seconds"] = round(self._stopwatch() - self._begin, 3)
        line |= {name: value if math.isfinite(value) else None for name, value in values.items()}
        log.write(json.dumps(line, allow_nan=False) + "\n")
        log.flush()
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(name, value, step, walltime=now)

    def picture(self, step: int, name: str, picture: Tensor) -> None:
        """Keep what was drawn at that step. picture: 3×H×W in [0, 1]; what lies outside is clipped, what is
        no number is magenta.

        Raises ValueError where the folder holds the log of a run that was not resumed.
        """
        if not self._enabled:
            return
        self._open("x")
        path = self._folder / "samples" / f"{name}-{step:08d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        levels = to_levels(picture)
        path.write_bytes(encode_picture(levels, "png"))
        if self._board is not None:
            self._board.add_image(name, levels, step, walltime=self._clock(), dataformats="HWC")

    def close(self) -> None:
        """Have everything on the disk. More than once is fine."""
        if self._log is not None:
            self._log.close()
        if self._board is not None:
            self._board.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _open(self, mode: Literal["a", "x"]) -> TextIO:
        """mode: "x" where no log may be there."""
        if self._log is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            try:
                self._log = (self._folder / LOG).open(mode, encoding="utf-8")
            except FileExistsError:
                raise ValueError(
                    f"{self._folder} holds the log of another run: resume it or name another folder"
                ) from None
            self._board = _open_board(self._folder / "tensorboard", self._resumed)
        return self._log


def read_log(path: Path) -> list[dict[str, Any]]:
    """The lines of a log, also of a run that goes on: a last line that is not whole is left out.

    Raises ValueError where another line is no JSON object with a step and seconds.
    """
    found = []
    lines = path.read_bytes().split(b"\n")
    for number, line in enumerate(lines[:-1], 1):  # after the last line's end, nothing or a half line
        try:
            one = json.loads(line)
            if not isinstance(one, dict) or not set(one) >= OWN:
                raise ValueError("no line of a run's log")
        except ValueError as error:
            if number == len(lines) - 1:  # written over by a crash of the machine: as good as not there
                break
            raise ValueError(f"{path}, line {number}: {error}; take the line out to go on") from None
        found.append(one)
    return found


def describe_run(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What it takes to run the same again: the settings (as JSON takes them), the commit, the versions, and
    what the machine has. It names no machine, no person and no folder that the settings don't name."""
    gpus = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    return {
        "settings": as_json(settings),
        "commit": _commit(PACKAGE),
        "versions": {
            "python": platform.python_version(),
            "torch": str(torch.__version__),
            "numpy": np.__version__,
            "cuda": torch.version.cuda,
        },
        "machine": {"system": platform.system(), "cores": cores(), "gpus": gpus},
    }


def _commit(package: Path) -> str | None:
    """Of the checkout that the package lies in, with "-dirty" where its files were changed; None where there
    is no checkout of its own (installed, say, within somebody else's), or no git."""
    git = ["git", "-C", str(package)]
    own = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    ask = [[*git, "rev-parse", "--show-prefix"], [*git, "describe", "--always", "--dirty", "--abbrev=40"]]
    ask[1] += ["--exclude=*"]  # no tags: the commit itself
    try:
        said = [subprocess.run(one, capture_output=True, text=True, check=True, env=own) for one in ask]
    except (FileNotFoundError, subprocess.CalledProcessError):
        return None
    prefix, commit = (one.stdout.strip() for one in said)
    return commit if prefix == f"{package.name}/" else None


def _open_board(folder: Path, resumed: int) -> Any:
    """A SummaryWriter that has TensorBoard forget later steps; None, and one line said, where TensorBoard is
    not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        tell(f"no curves for TensorBoard, only {LOG}: {error} (pip install tensorboard)", "journal")
        return None
    return SummaryWriter(folder, purge_step=resumed + 1 if folder.exists() else None)
