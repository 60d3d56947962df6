"""A training run's state on the disk: `RUN/checkpoints/step-00001234.pt`, and `best.pt`.

    with Checkpoints(run / "checkpoints") as checkpoints:
        checkpoints.save(state)                    # goes on while a thread writes
    found = latest_whole(run / "checkpoints")      # after kill -9 at any moment

A state is a dict of tensors, numbers, strings, lists, tuples and dicts, and is read without running anything.
Every state holds `KEYS`; what else there is, the training loop knows. A file is whole or not there. Disks may
still damage it later, and torch reads over that: the checksums in it are gone through first.
"""

import copy
import errno
import os
import re
import shutil
import zipfile
from collections import OrderedDict
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from models import pickles
from trainer.data.files import flush

FORMAT = 1
KEYS: dict[str, type] = {
    "format": int,  # FORMAT
    "recipe": str,
    "model": str,  # NAME:SIZE
    "step": int,
    "pictures": int,  # that all ranks together have seen
    "ema": dict,  # of `trainer.ema.Ema`
}
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # what a disk says, a quota, and a limit on files
PLAIN = (int, float, bool, str, bytes, type(None))  # beside tensors and containers; no subclasses

STEP = re.compile(r"step-(\d{8,})\.pt")
PART = re.compile(r"\.(?:step-\d{8,}|best)\.pt\.(\d+)\.part")  # a file on its way, with its writer's process

State = dict[str, Any]


class Found(NamedTuple):
    """A checkpoint that could be read."""

    path: Path
    state: State
    passed: tuple[str, ...]  # what is wrong with each newer one, a line each


class Checkpoints:
    """Writes them into `folder`, in a thread. There must be one writer in a folder: on several ranks, the
    first.

    keep: how many of the last steps stay, beside the best. Raises ValueError where that is less than 1, and
    OSError where the folder can't be made. What killed processes were writing is removed.
    """

    def __init__(self, folder: Path, keep: int = 3) -> None:
        if keep < 1:
            raise ValueError(f"{keep} checkpoints can't be kept: expected 1 or more")
        self.folder, self._keep = folder, keep
        folder.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(folder)
        self._thread = ThreadPoolExecutor(1, "checkpoint")
        self._writing: Future[None] | None = None

    def save(self, state: State, best: bool = False) -> None:
        """Copy the state to host memory, and return; it is on the disk after the next `wait`. Waits for the
        checkpoint before this one, and raises what `wait` raises about that.

        best: it becomes `best.pt` too. `format` need not be in the state.
        """
        self.wait()
        state = {"format": FORMAT, **state}
        wrong = _wrong(state)
        assert wrong is None, wrong
        assert torch.serialization.get_crc32_options(), "nobody would notice damage without checksums"
        self._writing = self._thread.submit(self._write, _copied(state, "state"), best)

    def wait(self) -> None:
        """Until nothing is being written. Raises OSError where a checkpoint couldn't be; those before it are
        as they were, and the next may be tried."""
        if self._writing is not None:
            writing, self._writing = self._writing, None
            writing.result()

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.wait()
        finally:
            self._thread.shutdown()

    def _write(self, state: State, best: bool) -> None:
        path = self.folder / f"step-{state['step']:08d}.pt"
        try:
            self._put(state, path, best)
        except OSError as error:
            told = f"can't be written: {error.strerror or error}"
            if error.errno in FULL:
                free = shutil.disk_usage(self.folder).free
                told += f"; it takes {_size(state)} bytes, and {free} are free"
            told += "; older checkpoints are as they were"
            raise OSError(error.errno or errno.EIO, told, str(path)) from None
        for old in _steps(self.folder)[self._keep :]:
            if old != path:  # nor is it where later steps of another attempt lie around
                old.unlink(missing_ok=True)

    def _put(self, state: State, path: Path, best: bool) -> None:
        best_path = self.folder / "best.pt"
        part, best_part = _part(path), _part(best_path)
        try:
            with open(part, "wb") as file:
                _dump(state, file)
            flush(part)
            # The best goes first: a run that ends between the two makes it again from the step before.
            if best:
                _link(part, best_part)
                best_part.replace(best_path)
                flush(self.folder)
            part.replace(path)
            flush(self.folder)
        finally:
            part.unlink(missing_ok=True)
            best_part.unlink(missing_ok=True)


def latest(folder: Path) -> Path | None:
    """The checkpoint of the highest step, unread; None where there is none."""
    return next(iter(_steps(folder)), None)


def latest_whole(folder: Path) -> Found | None:
    """The newest checkpoint that can be read; the best where none of the steps can, None where there is no
    checkpoint. Raises ValueError where there are some and none can be read."""
    passed: list[str] = []
    for path in (*_steps(folder), *folder.glob("best.pt")):
        try:
            return Found(path, read(path), tuple(passed))
        except ValueError as error:
            passed.append(str(error))
    if passed:
        raise ValueError(f"{folder}: none of its checkpoints can be read; {passed[0]}")
    return None


def read(path: Path) -> State:
    """A checkpoint's state, its tensors in host memory. Raises ValueError, one line that names the file,
    where it is not there, damaged, no checkpoint, of another format, or asks for code; none is run."""
    _check_sums(path)
    state = pickles.tensors(path)
    if wrong := _wrong(state):
        raise ValueError(f"{path}: {wrong}")
    found: State = state
    return found


def _wrong(state: object) -> str | None:
    """Why that is no state."""
    if not isinstance(state, dict):
        return f"no checkpoint of a training run: it holds a {type(state).__name__}"
    # A state of another format may lack anything else.
    if type(version := state.get("format", FORMAT)) is int and version != FORMAT:
        return f"a checkpoint of format {version}; this trainer reads format {FORMAT}"
    for key, kind in KEYS.items():
        if key not in state:
            return f"no checkpoint of a training run: it has no {key!r}"
        if not (isinstance(state[key], dict) if kind is dict else type(state[key]) is kind):
            return f"{key!r} is a {type(state[key]).__name__}, expected: {kind.__name__}"
    return next((f"{key!r} is below nought" for key in ("step", "pictures") if state[key] < 0), None)


def _check_sums(path: Path) -> None:
    """Raises ValueError for a file that is not as it was written."""
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except FileNotFoundError:
        raise ValueError(f"{path}: there is no such file") from None
    except OSError as error:
        raise ValueError(f"{path}: can't be read: {error.strerror or error}") from None
    except Exception as error:  # damaged tables of contents raise anything
        first = ascii(str(error).partition("\n")[0][:120])[1:-1]
        raise ValueError(f"{path}: no checkpoint, or truncated or damaged ({first})") from None
    if damaged is not None:
        raise ValueError(f"{path}: damaged: the checksum of {ascii(damaged)} in it is wrong")


def _copied(value: Any, name: str) -> Any:
    """The value with tensors of its own, in host memory."""
    if isinstance(value, Tensor):
        return value.detach().to("cpu", copy=True)
    if type(value) in (dict, OrderedDict):
        made = copy.copy(value)  # with the versions that torch hangs on its state dicts
        made.update({key: _copied(one, f"{name}[{key!r}]") for key, one in value.items()})
        return made
    if type(value) in (list, tuple):
        return type(value)(_copied(one, f"{name}[{index}]") for index, one in enumerate(value))
    assert type(value) in PLAIN, f"{name} is a {type(value).__name__}, which no checkpoint can hold"
    return value


def _dump(state: State, file: Any) -> None:
    """Into anything that has `write` and `flush`. Raises what those raise."""
    try:
        torch.save(state, file)
    except RuntimeError as error:  # about its own counting, since a write failed
        if isinstance(error.__context__, OSError):
            raise error.__context__ from None
        raise


class _Scale:
    """A file that is only weighed."""

    def __init__(self) -> None:
        self.bytes = 0

    def write(self, data: bytes) -> int:
        self.bytes += len(data)
        return len(data)

    def flush(self) -> None:
        """Nothing is held back."""


def _size(state: State) -> int:
    scale = _Scale()
    _dump(state, scale)
    return scale.bytes


def _part(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}.part")


def _link(file: Path, name: Path) -> None:
    """The same under another name; a copy where the file system has no hard links."""
    name.unlink(missing_ok=True)
    try:
        name.hardlink_to(file)
    except OSError:  # each file system has an error of its own for that, and a full disk is met again
        shutil.copyfile(file, name)
        flush(name)


def _steps(folder: Path) -> list[Path]:
    """The latest first."""
    steps = [(int(match[1]), path) for path in folder.glob("*.pt") if (match := STEP.fullmatch(path.name))]
    return [path for _, path in sorted(steps, reverse=True)]


def _remove_leftovers(folder: Path) -> None:
    for path in folder.iterdir():
        match = PART.fullmatch(path.name)
        if match and not _alive(int(match[1])):
            try:
                path.unlink(missing_ok=True)
            except PermissionError:
                if os.name != "nt":  # there, somebody alive has it open
                    raise


def _alive(pid: int) -> bool:
    """Does another process of that number run? (In containers this one often has its predecessor's.)"""
    if pid == os.getpid() or os.name == "nt":  # there, asking would end it
        return False
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # somebody else's
        return True
    return True
