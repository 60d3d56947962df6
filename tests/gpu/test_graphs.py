"""What is asked of a GPU, and in which order, by one that writes it down. `test_networks.py` asks real
ones."""

from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from realtime.graphs import WARM_UP, Captured
from tests.gpu.recorder import Recorder


class Code(NamedTuple):
    values: Tensor
    absent: Tensor | None = None


class Sum:
    """a + 10 b."""

    def __init__(self, cuda: Recorder) -> None:
        self.cuda = cuda
        self.read: list[tuple[int, ...]] = []  # where the inputs of each run lay

    def __call__(self, a: Code, b: Code) -> tuple[Tensor]:
        self.cuda.log.append(f"run on {self.cuda.current_stream().name}")
        self.read.append((a.values.data_ptr(), b.values.data_ptr()))
        return (a.values + 10 * b.values,)


@pytest.fixture
def cuda() -> Recorder:
    return Recorder()


def code(*values: float) -> Code:
    return Code(torch.tensor(values))


def test_it_is_warmed_up_on_a_side_stream_then_captured_then_replayed(cuda: Recorder) -> None:
    captured = Captured(Sum(cuda), code(1, 2, 3), code(0, 0, 1), cuda=cuda)
    assert cuda.log == [
        "side 1 waits for usual",
        *["run on side 1"] * WARM_UP,
        "usual waits for side 1",
        "synchronize",
        "capture on side 1 in None",
        "run on side 1",
        "captured",
    ]
    cuda.log.clear()
    captured(code(1, 2, 3))
    captured(code(1, 2, 3))
    assert cuda.log == ["replay", "replay"]  # the function is not called again


def test_new_inputs_are_copied_before_a_replay_and_old_ones_stay(cuda: Recorder) -> None:
    captured = Captured(Sum(cuda), code(1, 2, 3), code(0, 0, 1), cuda=cuda)
    assert captured()[0].tolist() == [1, 2, 13]
    assert captured(code(5, 6, 7))[0].tolist() == [5, 6, 17]
    assert captured(code(5, 6, 7), code(1, 1, 1))[0].tolist() == [15, 16, 17]
    assert captured(code(0, 0, 0))[0].tolist() == [10, 10, 10]


def test_results_are_always_in_the_same_memory(cuda: Recorder) -> None:
    captured = Captured(Sum(cuda), code(1, 2, 3), code(0, 0, 1), cuda=cuda)
    first, second = captured(code(1, 1, 1)), captured(code(2, 2, 2))
    assert first[0] is second[0] is captured.results[0]


def test_inputs_have_memory_of_their_own_which_every_run_reads(cuda: Recorder) -> None:
    function, first, other = Sum(cuda), code(1, 2, 3), code(0, 0, 1)
    captured = Captured(function, first, other, cuda=cuda)
    captured(code(7, 7, 7))
    assert first.values.tolist() == [1, 2, 3]
    assert len(set(function.read)) == 1
    assert first.values.data_ptr() not in function.read[0]
    assert other.values.data_ptr() not in function.read[0]


def test_the_inputs_memory_has_their_order(cuda: Recorder) -> None:
    seen: list[Any] = []
    picture = torch.rand(1, 3, 4, 4).to(memory_format=torch.channels_last)
    Captured(lambda given: seen.append(given), Code(picture), cuda=cuda)
    assert all(given.values.is_contiguous(memory_format=torch.channels_last) for given in seen)
    assert all(given.absent is None for given in seen)


def test_another_shape_is_refused(cuda: Recorder) -> None:
    captured = Captured(Sum(cuda), code(1, 2, 3), code(0, 0, 1), cuda=cuda)
    with pytest.raises(AssertionError, match="another shape"):
        captured(code(1))


def test_what_waits_for_the_device_is_refused(cuda: Recorder) -> None:
    """As a GPU refuses it; so the tests that record see it, too."""
    with pytest.raises(RuntimeError, match="not permitted"):
        Captured(lambda given: (given.values * float(given.values.max()),), code(1, 2), cuda=cuda)


def test_kernels_are_tried_before_the_recording_and_only_then(cuda: Recorder) -> None:
    tried: list[bool] = []

    def draw(given: Code) -> tuple[Tensor]:
        tried.append(torch.backends.cudnn.benchmark)
        return (given.values + 1,)

    before = torch.backends.cudnn.benchmark
    Captured(draw, code(1, 2), cuda=cuda)
    assert tried == [True] * (WARM_UP + 1), "what was found in the first runs is looked up in the last"
    assert torch.backends.cudnn.benchmark is before
