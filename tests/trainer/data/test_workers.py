"""Work shared among processes."""

import os
import signal
from collections.abc import Iterator

import pytest

from trainer.data.workers import Rank, cores, work_off


def squares(numbers: tuple[int, ...]) -> Iterator[int]:
    for number in numbers:
        if number < 0:
            raise ValueError(f"{number} is below nought")
        if number == 13:
            os.kill(os.getpid(), signal.SIGKILL)
        yield number * number + (os.getpid() << 16)


def test_one_share_is_worked_off_here() -> None:
    assert [found >> 16 for found in work_off(squares, [(1, 2)])] == [os.getpid()] * 2


def test_several_have_a_process_each() -> None:
    found = list(work_off(squares, [(1, 2, 3), (4, 5)]))
    assert sorted(one & 0xFFFF for one in found) == [1, 4, 9, 16, 25]
    assert len({one >> 16 for one in found} - {os.getpid()}) == 2


def test_what_a_worker_raises_is_raised_here() -> None:
    with pytest.raises(ValueError, match="-1 is below nought"):
        list(work_off(squares, [(1, -1), (2, 3)]))


def test_a_worker_that_is_killed_is_missed() -> None:
    with pytest.raises(OSError, match="was ended by SIGKILL; where memory was short, have fewer --workers"):
        list(work_off(squares, [(13,), (2, 3)]))


def test_whoever_stops_asking_stops_the_workers() -> None:
    working = work_off(squares, [tuple(range(12)), tuple(range(20, 40))])
    pids = {next(working) >> 16 for _ in range(4)}
    working.close()  # type: ignore[attr-defined]
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_ranks_are_as_torchrun_says(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    assert Rank.here() == (0, 1, None, 1)
    for name, value in (("RANK", "5"), ("WORLD_SIZE", "8"), ("LOCAL_RANK", "1"), ("LOCAL_WORLD_SIZE", "4")):
        monkeypatch.setenv(name, value)
    assert Rank.here() == (5, 8, 1, 4)
    monkeypatch.setenv("WORLD_SIZE", "5")
    with pytest.raises(ValueError, match="RANK is 5 and WORLD_SIZE 5"):
        Rank.here()
    monkeypatch.setenv("RANK", "five")
    with pytest.raises(ValueError, match="RANK is 'five'; expected a number"):
        Rank.here()


def test_cores_are_those_that_may_be_used() -> None:
    assert 1 <= cores() <= (os.cpu_count() or 1)
