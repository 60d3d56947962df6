"""A training run's state on the disk, and what may befall it there."""

import errno
import multiprocessing
import os
import pickle
import random
import resource
import shutil
import signal
import threading
from collections import OrderedDict
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from trainer import checkpoint
from trainer.checkpoint import FORMAT, Checkpoints, State, latest, latest_whole, read
from trainer.ema import Ema

# Processes of their own, from one that has imported torch once.
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload([__name__])


def state_of(step: int, numbers: int = 1000) -> State:
    """Known by its step."""
    noise = torch.Generator().manual_seed(step)
    return {
        "recipe": "imf",
        "model": "imf:tiny",
        "step": step,
        "pictures": 8 * step,
        "ema": {"weight": torch.randn(numbers, generator=noise)},
        "rng": [noise.get_state()],
    }


def assert_same(found: Any, expected: Any, name: str = "state") -> None:
    """Bit for bit, and of the same types."""
    assert type(found) is type(expected), name
    if isinstance(expected, torch.Tensor):
        assert (found.dtype, found.shape, found.stride()) == (
            expected.dtype,
            expected.shape,
            expected.stride(),
        )
        pair = [one.contiguous().reshape(-1).view(torch.uint8) for one in (found, expected)]
        assert torch.equal(*pair), name
    elif isinstance(expected, dict):
        assert list(found) == list(expected), name
        for key in expected:
            assert_same(found[key], expected[key], f"{name}[{key!r}]")
    elif isinstance(expected, list | tuple):
        assert len(found) == len(expected), name
        for index, pair in enumerate(zip(found, expected, strict=True)):
            assert_same(*pair, f"{name}[{index}]")
    else:
        assert repr(found) == repr(expected), name  # NaN too


def saved(folder: Path, *steps: int, keep: int = 3, best: tuple[int, ...] = ()) -> None:
    with Checkpoints(folder, keep) as checkpoints:
        for step in steps:
            checkpoints.save(state_of(step), best=step in best)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_is_saved_is_read_bit_for_bit(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).to(memory_format=torch.channels_last)
    optimiser = torch.optim.Adam(network.parameters(), betas=(0.0, 0.99))
    network(torch.randn(2, 3, 8, 8)).square().mean().backward()
    optimiser.step()
    state = {
        "format": FORMAT,
        **state_of(12),
        "ema": Ema(network, half_life=10).state_dict(),
        "network": network.state_dict(),
        "optimiser": optimiser.state_dict(),
        "half": torch.randn(3).bfloat16(),
        "odd": torch.tensor([float("nan"), -0.0, float("inf"), 1e-45]),
        "numbers": (1, 2.5, float("nan"), True, None, "näme", 2**80, b"\x00\xff"),
        "by number": {0: [], 1: {}},
    }
    with Checkpoints(tmp_path / "run" / "checkpoints") as checkpoints:
        checkpoints.save(state)
    path = tmp_path / "run" / "checkpoints" / "step-00000012.pt"
    found = read(path)
    assert_same(found, state)
    assert isinstance(found["network"], OrderedDict)
    assert found["network"]._metadata == state["network"]._metadata
    assert latest(path.parent) == path


def test_the_format_is_written_by_itself(tmp_path: Path) -> None:
    saved(tmp_path, 1)
    assert read(tmp_path / "step-00000001.pt")["format"] == FORMAT


class Gate:
    """Holds the writing thread before it writes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reached, self.open = threading.Semaphore(0), threading.Semaphore(0)
        dump = checkpoint._dump

        def held(state: State, file: Any) -> None:
            self.reached.release()
            self.open.acquire()
            dump(state, file)

        monkeypatch.setattr(checkpoint, "_dump", held)


def test_saving_returns_at_once_and_later_changes_do_not_show(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(monkeypatch)
    network = nn.Linear(2, 2)
    state = state_of(1) | {"networks": [network.state_dict()], "losses": [0.5]}
    expected = network.weight.detach().clone()
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(state)
        gate.reached.acquire()  # the thread is at it, and this one goes on
        with torch.no_grad():
            network.weight.fill_(7)
        state["losses"].append(0.25)
        state["step"] = 2
        assert latest(tmp_path) is None
        gate.open.release()
    found = read(tmp_path / "step-00000001.pt")
    assert torch.equal(found["networks"][0]["weight"], expected)
    assert (found["losses"], found["step"]) == ([0.5], 1)


def test_one_is_written_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is the next one even copied before: host memory holds one beside the network."""
    gate, copied, there = Gate(monkeypatch), checkpoint._copied, []

    def seen(value: Any, name: str) -> Any:
        if name == "state":
            there.append(names(tmp_path))
        return copied(value, name)

    monkeypatch.setattr(checkpoint, "_copied", seen)
    with Checkpoints(tmp_path) as checkpoints:
        for step in (1, 2, 3):
            gate.open.release()  # for the one before; that needs its time
            checkpoints.save(state_of(step))
        gate.open.release()
    assert there == [[], ["step-00000001.pt"], ["step-00000001.pt", "step-00000002.pt"]]


def test_the_last_ones_and_the_best_stay(tmp_path: Path) -> None:
    saved(tmp_path, 1, 2, 3, 4, 5, 99_999_999, 100_000_000, best=(2, 4))
    assert names(tmp_path) == ["best.pt", "step-00000005.pt", "step-100000000.pt", "step-99999999.pt"]
    assert read(tmp_path / "best.pt")["step"] == 4
    assert latest(tmp_path) == tmp_path / "step-100000000.pt"  # of numbers, not of words


def test_older_ones_go_when_the_new_one_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved(tmp_path, 1, keep=1)
    seen: list[list[str]] = []
    monkeypatch.setattr(checkpoint, "flush", lambda path: seen.append(names(tmp_path)))
    saved(tmp_path, 2, keep=1)
    assert seen == [
        [f".step-00000002.pt.{os.getpid()}.part", "step-00000001.pt"],
        ["step-00000001.pt", "step-00000002.pt"],
    ]
    assert names(tmp_path) == ["step-00000002.pt"]


def test_a_step_gone_back_to_is_kept_beside_later_ones(tmp_path: Path) -> None:
    saved(tmp_path, 7, 8, 9)
    saved(tmp_path, 5, keep=2)
    assert names(tmp_path) == ["step-00000005.pt", "step-00000008.pt", "step-00000009.pt"]


def test_a_file_system_without_hard_links_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    saved(tmp_path, 1, 2, best=(1, 2))
    assert names(tmp_path) == ["best.pt", "step-00000001.pt", "step-00000002.pt"]
    assert_same(read(tmp_path / "best.pt"), {"format": FORMAT, **state_of(2)})
    assert (tmp_path / "best.pt").stat().st_nlink == 1


def test_the_best_takes_no_room_of_its_own(tmp_path: Path) -> None:
    saved(tmp_path, 1, best=(1,))
    assert (tmp_path / "best.pt").samefile(tmp_path / "step-00000001.pt")


# The disk is full.


def test_a_full_disk_leaves_the_old_one_and_can_be_got_over(tmp_path: Path) -> None:
    """The temporary file lies on a device that takes not one byte."""
    if not Path("/dev/full").exists():
        pytest.skip("this system has no device that is always full")
    saved(tmp_path, 1)
    with Checkpoints(tmp_path) as checkpoints:
        (tmp_path / f".step-00000002.pt.{os.getpid()}.part").symlink_to("/dev/full")
        checkpoints.save(state_of(2), best=True)
        with pytest.raises(OSError, match=r"No space left on device") as caught:
            checkpoints.wait()
        assert names(tmp_path) == ["step-00000001.pt"]
        checkpoints.save(state_of(2))
        checkpoints.wait()  # says it once
    assert caught.value.errno == errno.ENOSPC
    assert caught.value.filename == str(tmp_path / "step-00000002.pt")
    size = (tmp_path / "step-00000002.pt").stat().st_size
    assert f"can't be written: No space left on device; it takes {size} bytes, and " in str(caught.value)
    assert " are free; older checkpoints are as they were" in str(caught.value)
    assert_same(read(tmp_path / "step-00000001.pt"), {"format": FORMAT, **state_of(1)})


@pytest.mark.parametrize("at", ["flush", "copyfile"])
def test_a_disk_that_is_full_later_on_leaves_nothing_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    """When the bytes are put on the disk for good, and when the best is copied."""

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    saved(tmp_path, 1, best=(1,))
    monkeypatch.setattr(os, "link", refuse)
    monkeypatch.setattr(*((checkpoint, "flush") if at == "flush" else (shutil, "copyfile")), refuse)
    with pytest.raises(OSError, match=r"No space left on device; it takes \d+ bytes.*step-00000002\.pt"):
        saved(tmp_path, 2, best=(2,))
    assert names(tmp_path) == ["best.pt", "step-00000001.pt"]
    assert read(tmp_path / "best.pt")["step"] == 1


def test_the_next_save_raises_what_the_last_one_met(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    checkpoints = Checkpoints(folder)
    folder.rmdir()
    checkpoints.save(state_of(1))
    with pytest.raises(OSError, match=r"can't be written: No such file or directory; older .*00001\.pt'"):
        checkpoints.save(state_of(2))
    folder.mkdir()
    with checkpoints:
        checkpoints.save(state_of(2))
    assert names(folder) == ["step-00000002.pt"]


def _save_below_a_limit(folder: Path, limits: list[int], told: Connection) -> None:
    torch.set_num_threads(1)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    for limit in limits:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
        try:
            saved(folder, 2)
            told.send(None)
        except OSError as error:
            told.send((error.errno, str(error), names(folder)))


def test_a_limit_on_files_anywhere_in_a_file_is_told(tmp_path: Path) -> None:
    """In every part of it: torch's writer tells of some in words of its own."""
    saved(tmp_path, 1)
    size = (tmp_path / "step-00000001.pt").stat().st_size
    limits = [
        0,
        1,
        *random.Random(0).sample(range(2, size), 20),
        *range(size - 120, size, 20),
        size - 1,
        size,
    ]
    mine, its = FORKS.Pipe()
    process = FORKS.Process(target=_save_below_a_limit, args=(tmp_path, limits, its))
    process.start()
    its.close()
    found = [mine.recv() for _ in limits]
    process.join()
    assert found.pop() is None
    for number, message, left in found:
        assert number == errno.EFBIG
        assert f"File too large; it takes {size} bytes" in message
        assert left == ["step-00000001.pt"]
    assert latest_whole(tmp_path).state["step"] == 2


# Killed processes.

MOVES = 95  # on the disk, in about one save of `_save_step_by_step`


def _save_step_by_step(folder: Path, parent: Connection) -> None:
    """Tells before every move on the disk, and waits for leave to make it. Files are written in halves."""
    torch.set_num_threads(1)

    def asking(move: Callable[..., Any]) -> Callable[..., Any]:
        def asked(*arguments: Any, **options: Any) -> Any:
            parent.send(None)
            parent.recv()
            return move(*arguments, **options)

        return asked

    class Halves:
        def __init__(self, file: Any) -> None:
            self.file = file

        def write(self, data: bytes) -> int:
            for part in (data[: len(data) // 2], data[len(data) // 2 :]):
                asking(self.file.write)(part)
                self.file.flush()
            return len(data)

        def flush(self) -> None:
            self.file.flush()

    dump = checkpoint._dump
    checkpoint._dump = lambda state, file: dump(state, Halves(file))
    checkpoint.flush = asking(checkpoint.flush)
    os.link, os.replace, os.unlink = asking(os.link), asking(os.replace), asking(os.unlink)
    with Checkpoints(folder, keep=2) as checkpoints:
        while True:
            found = latest_whole(folder)
            step = found.state["step"] + 1 if found else 1
            checkpoints.save(state_of(step), best=step % 2 == 1)
            checkpoints.wait()
            parent.send(step)


def _killed_at(folder: Path, moves: int) -> int:
    """Let a process save until it has made so many moves, and kill it. The last step that it told of."""
    mine, its = FORKS.Pipe()
    process = FORKS.Process(target=_save_step_by_step, args=(folder, its))
    process.start()
    its.close()
    done = 0
    while True:
        told = mine.recv()
        if told is not None:
            done = told
        elif moves:
            moves -= 1
            mine.send(None)
        else:
            break
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    mine.close()
    return done


def assert_goes_on(folder: Path, told: int) -> int:
    """Whatever a killed process left, the newest step that it told of can be read, or the one that it was
    at. Which it is."""
    found = latest_whole(folder)
    if found is None:
        assert told == 0
        return 0
    step = int(found.state["step"])
    assert told <= step <= told + 1
    assert found.passed == ()
    assert_same(found.state, {"format": FORMAT, **state_of(step)})
    if step > 1:
        assert read(folder / "best.pt")["step"] in (step - 1, step, step + 1)
    return step


def test_killed_at_random_moments_it_goes_on_from_a_whole_one(tmp_path: Path) -> None:
    """Each process goes on from what the killed ones before it left."""
    chance = random.Random(0)
    step, leftovers = 0, 0
    for _ in range(20):
        step = assert_goes_on(tmp_path, max(step, _killed_at(tmp_path, chance.randrange(MOVES * 2))))
        leftovers += any(name.startswith(".") for name in names(tmp_path))
    assert step >= 10
    assert leftovers >= 10  # or the moments were harmless ones
    saved(tmp_path, step + 1, keep=2)
    assert not any(name.startswith(".") for name in names(tmp_path))
    assert len(names(tmp_path)) == 3


@pytest.mark.slow
def test_killed_before_any_move_it_goes_on_from_a_whole_one(tmp_path: Path) -> None:
    """Of the first four saves: the best alone, a later best, and older ones' going."""
    steps = [
        assert_goes_on(folder, _killed_at(folder, moves))
        for moves in range(4 * MOVES)
        for folder in [tmp_path / str(moves)]
    ]
    assert steps == sorted(steps)
    assert set(steps) >= {0, 1, 2, 3}


def test_only_dead_processes_files_are_cleared_away(tmp_path: Path) -> None:
    dead = FORKS.Process(target=int)
    dead.start()
    dead.join()
    old = [
        f".step-00000007.pt.{dead.pid}.part",
        f".best.pt.{dead.pid}.part",
        f".step-00000008.pt.{os.getpid()}.part",  # of a process before this one that had its number
        ".best.pt.99999999999.part",
    ]
    others = [
        f".step-00000007.pt.{os.getppid()}.part",
        f".notes.pt.{dead.pid}.part",
        f"step-00000007.pt.{dead.pid}.part",
        ".step-00000007.pt.part",
        "notes.pt",
        "step-7.pt",
    ]
    for name in (*old, *others):
        (tmp_path / name).touch()
    saved(tmp_path, 1, 2, keep=1)
    assert names(tmp_path) == sorted([*others, "step-00000002.pt"])


# What is read.


def test_an_empty_folder_and_none_hold_no_checkpoint(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "none"):
        assert latest(folder) is None
        assert latest_whole(folder) is None


def test_a_damaged_newest_is_passed_over_and_told_of(tmp_path: Path) -> None:
    saved(tmp_path, 1, 2, 3)
    damaged = tmp_path / "step-00000003.pt"
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    torch.load(damaged, weights_only=True)  # torch doesn't notice; were it to, we needn't
    (tmp_path / "step-00000002.pt").write_bytes(b"")
    found = latest_whole(tmp_path)
    assert found.path == tmp_path / "step-00000001.pt"
    assert_same(found.state, {"format": FORMAT, **state_of(1)})
    assert [line.partition(": ")[0] for line in found.passed] == [
        str(damaged),
        str(tmp_path / "step-00000002.pt"),
    ]
    assert "damaged: the checksum of " in found.passed[0]
    assert latest(tmp_path) == damaged


def test_the_best_is_the_last_resort(tmp_path: Path) -> None:
    saved(tmp_path, 1, 2, best=(1,), keep=1)
    (tmp_path / "step-00000002.pt").write_bytes(b"PK")
    found = latest_whole(tmp_path)
    assert (found.path.name, found.state["step"], len(found.passed)) == ("best.pt", 1, 1)


def test_where_none_can_be_read_nobody_starts_anew(tmp_path: Path) -> None:
    (tmp_path / "step-00000002.pt").write_bytes(b"PK")
    with pytest.raises(
        ValueError, match=r"none of its checkpoints can be read; .*00002\.pt: no checkpoint, or"
    ):
        latest_whole(tmp_path)


def test_no_flipped_bit_is_read_over(tmp_path: Path) -> None:
    """One in every byte of the table of contents, at the end, and in some before."""
    saved(tmp_path, 1)
    path = tmp_path / "step-00000001.pt"
    expected, content = read(path), path.read_bytes()
    chance = random.Random(0)
    told = []
    for place in (*range(0, len(content), 61), *range(len(content) - 900, len(content))):
        changed = bytearray(content)
        changed[place] ^= 1 << chance.randrange(8)
        path.write_bytes(changed)
        try:
            found = read(path)
        except ValueError as error:
            told.append(str(error))
        else:
            assert_same(found, expected)  # it was padding
    assert len(told) > 600
    assert all(line.startswith(f"{path}: ") and "\n" not in line for line in told)


@pytest.mark.parametrize("share", [0, 0.3, 0.999])
def test_a_truncated_file_is_told(tmp_path: Path, share: float) -> None:
    saved(tmp_path, 1)
    path = tmp_path / "step-00000001.pt"
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(
        ValueError, match=r"00001\.pt: no checkpoint, or truncated or damaged \(File is not a"
    ):
        read(path)


class Touch:
    """Unpickled, it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def test_code_is_refused_and_not_run(tmp_path: Path) -> None:
    path, made = tmp_path / "step-00000001.pt", tmp_path / "made"
    torch.save({**state_of(1), "format": FORMAT, "sampler": Touch(made)}, path)
    with pytest.raises(ValueError, match=r"00001\.pt: asks for '?\w+\.mkdir.*; nothing of it was run$"):
        read(path)
    path.write_bytes(pickle.dumps({**state_of(1), "sampler": Touch(made)}))
    with pytest.raises(ValueError, match=r"00001\.pt: no checkpoint, or truncated"):
        read(path)
    assert not made.exists()
    torch.load(path.parent / _plainly(tmp_path, made), weights_only=False)
    assert made.exists()  # it would have


def _plainly(folder: Path, made: Path) -> str:
    torch.save(Touch(made), folder / "code.pt")
    return "code.pt"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 2}, "a checkpoint of format 2; this trainer reads format 1"),
        ({"format": 2, "ema": None}, "a checkpoint of format 2; this trainer reads format 1"),
        ({"format": "1"}, "'format' is a str, expected: int"),
        ({"step": True}, "'step' is a bool, expected: int"),
        ({"step": -1}, "'step' is below nought"),
        ({"pictures": 8.0}, "'pictures' is a float, expected: int"),
        ({"model": None}, "'model' is a NoneType, expected: str"),
        ({"ema": []}, "'ema' is a list, expected: dict"),
    ],
)
def test_what_is_no_state_is_told(tmp_path: Path, change: State, message: str) -> None:
    path = tmp_path / "a.pt"
    torch.save({"format": FORMAT, **state_of(1), **change}, path)
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        read(path)
    assert str(caught.value) == f"{path}: {message}"


@pytest.mark.parametrize("key", ["format", "recipe", "model", "step", "pictures", "ema"])
def test_a_missing_key_is_told(tmp_path: Path, key: str) -> None:
    state = {"format": FORMAT, **state_of(1)}
    del state[key]
    torch.save(state, tmp_path / "a.pt")
    with pytest.raises(ValueError, match=rf"a\.pt: no checkpoint of a training run: it has no '{key}'$"):
        read(tmp_path / "a.pt")


def test_other_things_are_told(tmp_path: Path) -> None:
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(ValueError, match=r"list\.pt: no checkpoint of a training run: it holds a list$"):
        read(tmp_path / "list.pt")
    with pytest.raises(ValueError, match=r"none\.pt: there is no such file$"):
        read(tmp_path / "none.pt")
    with pytest.raises(ValueError, match=r": can't be read: Is a directory$"):
        read(tmp_path)


@pytest.mark.parametrize("value", [np.float64(0.5), np.zeros(3), {1, 2}, Path("a"), [{"deep": object()}]])
def test_what_could_not_be_read_again_is_not_saved(tmp_path: Path, value: object) -> None:
    with Checkpoints(tmp_path) as checkpoints:
        with pytest.raises(AssertionError, match=r"state\['more'\].* is a .*, which no checkpoint can hold"):
            checkpoints.save(state_of(1) | {"more": value})
        with pytest.raises(AssertionError, match="it has no 'ema'"):
            checkpoints.save({key: one for key, one in state_of(1).items() if key != "ema"})
    assert names(tmp_path) == []


def test_nothing_kept_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="0 checkpoints can't be kept"):
        Checkpoints(tmp_path, keep=0)
