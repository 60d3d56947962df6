from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from models import registry
from models.contract import Observation
from realtime.bench import costs
from realtime.bench.costs import FEWEST, MODES, Cost, Failure, Mode, Row, apart, attempt, measure
from tests.models.test_contract import NARROW
from tests.models.tiny import Tiny, TinyAppearance, TinyStructure


class Clock:
    """That only `Slow` moves."""

    seconds = 0.0

    def now(self, device: str) -> float:
        return self.seconds


class Slow(nn.Module):
    """Takes so many ms of the clock."""

    def __init__(self, clock: Clock, ms: float) -> None:
        super().__init__()
        self.clock, self.ms = clock, ms
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self) -> None:
        self.clock.seconds += self.ms / 1e3


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(costs, "_now", clock.now)
    return clock


@pytest.fixture
def twins(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> str:
    """A network of `tiny`'s parts, which take no time, and two that do: the younger once in each call, the
    elder twice in decode. What is called elsewhere, never, or has no parameters, is in nobody's row."""

    class Twins(Tiny):
        spec = replace(Tiny.spec, name="twins")

        def __init__(self) -> None:
            super().__init__()
            self.elder, self.younger, self.idle = Slow(clock, 4), Slow(clock, 3), Slow(clock, 100)
            self.bare = nn.Identity()
            self.volume = nn.Conv3d(1, 1, 1)  # its weights can't have channels last

        def encode_appearance(self, sources: Sequence[Observation]) -> TinyAppearance:
            self.younger()
            clock.seconds += 1.0  # outside of any module
            return super().encode_appearance([self.bare(source) for source in sources])

        def encode_structure(self, driving: Observation) -> TinyStructure:
            self.younger()
            return super().encode_structure(driving)

        def decode(self, appearance: TinyAppearance, structure: TinyStructure) -> tuple[Tensor, Tensor]:
            self.elder()
            self.younger()
            self.elder()
            return super().decode(appearance, structure)

    monkeypatch.setitem(registry._classes, "twins", Twins)
    return "twins"


def medians(cost: Cost) -> dict[str, dict[str, float]]:
    return {
        call: {name: round(ms[0], 6) for name, ms in found.items()} for call, found in cost.modules_ms.items()
    }


@pytest.mark.parametrize("mode", ["float32", "channels_last", "fp16"])
def test_each_module_is_timed_in_each_call(twins: str, mode: Mode) -> None:
    found = measure(Row(twins, 2, mode, "cpu", 1, 0.0))
    # encode_appearance of `tiny` encodes the source's structure, too.
    assert medians(found) == {
        "appearance": {"features": 0, "token": 0, "linear": 0, "younger": 6},
        "structure": {"token": 0, "linear": 0, "younger": 3},
        "decode": {"scale": 0, "picture": 0, "elder": 8, "younger": 3},
    }
    assert found.structure_ms == pytest.approx((3, 3, 3))
    assert found.decode_ms == pytest.approx((11, 11, 11))
    assert found.frame_ms == pytest.approx((14, 14, 14))


def test_modules_are_timed_in_runs_of_their_own(twins: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of the whole know nothing of hooks, and come first."""
    hooked: list[int] = []
    decode = registry.get(twins).decode

    def counted(network: nn.Module, *codes: Any) -> Any:
        hooked.append(sum(len(child._forward_hooks) for child in network.children()))
        return decode(network, *codes)

    monkeypatch.setattr(registry.get(twins), "decode", counted)
    measure(Row(twins, 1, "float32", "cpu", 1, 0.0))
    children_with_parameters = 5 + 4
    assert hooked == [0] * (1 + FEWEST) + [children_with_parameters] * FEWEST


def test_a_network_without_parameters_has_no_modules() -> None:
    assert measure(Row("warp", 1, "float32", "cpu", 1, 0.0)).modules_ms == {}


def test_the_five_parts_of_liveportrait_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(costs.weights, "seeded", lambda model: NARROW[model]())
    found = measure(Row("liveportrait", 1, "channels_last", "cpu", 1, 0.0))
    assert {call: set(parts) for call, parts in found.modules_ms.items()} == {
        "appearance": {"appearance", "motion"},
        "structure": {"motion"},
        "decode": {"warping", "generator", "stitching"},
    }


def test_a_row_is_of_its_batch_and_size(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    decode = registry.get("tiny").decode
    monkeypatch.setattr(registry.get("tiny"), "decode", lambda *a: calls.append(a) or decode(*a))
    cost = measure(Row("tiny:wide", 4, "float32", "cpu", 1, 0.0))
    assert {
        len(tensor) for _, appearance, structure in calls for tensor in (appearance[1], structure[0])
    } == {4}
    assert cost.parameters == sum(one.numel() for one in registry.make("tiny:wide").parameters())


@pytest.mark.parametrize("mode", ["channels_last", "bf16", "fp16"])
def test_what_runs_on_a_gpu_runs_here_too(mode: Mode) -> None:
    cost = measure(Row("tiny", 1, mode, "cpu", 1, 0.0))
    assert cost.decode_ms is not None
    assert min(cost.decode_ms) > 0


@pytest.mark.parametrize(
    ("mode", "dtype"),
    [("float32", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float16)],
)
def test_the_mode_is_what_a_network_computes_in(
    mode: Mode, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = set()
    network = registry.make("tiny").eval()
    network.picture.register_forward_hook(lambda layer, given, made: seen.add(made.dtype))
    monkeypatch.setattr(costs.weights, "seeded", lambda model: network)
    measure(Row("tiny", 1, mode, "cpu", 1, 0.0))
    assert seen == {dtype}


def test_a_compiled_network_is_timed_in_two_steps_and_not_by_module(
    twins: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is compiled once, and given what it is given without a compiler."""
    runs: list[str] = []

    def compile_it(step: Callable[[Any], Any]) -> Callable[[Any], Any]:
        return lambda given: runs.append(step.__name__) or step(given)

    monkeypatch.setattr(torch, "compile", compile_it)
    found = measure(Row(twins, 1, "fp16_compiled", "cpu", 1, 0.0))
    assert runs == ["structure", "decode"] * (1 + FEWEST)
    assert (found.structure_ms, found.decode_ms) == (pytest.approx((3, 3, 3)), pytest.approx((11, 11, 11)))
    assert found.modules_ms == {}


def test_torch_can_trace_what_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """In one piece each, of which then nothing is made, as that takes a compiler."""
    whole = partial(torch.compile, backend="eager", fullgraph=True)
    monkeypatch.setattr(torch, "compile", whole)
    assert measure(Row("tiny", 2, "fp16_compiled", "cpu", 1, 0.0)).frame_ms[0] > 0


def test_of_a_captured_network_only_the_whole_frame_is_timed(
    twins: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    captured: list[tuple[Any, ...]] = []

    def capture(function: Callable[..., Any], *inputs: Any) -> Callable[..., Any]:
        captured.append(inputs)
        return function

    monkeypatch.setattr(costs, "Captured", capture)
    found = measure(Row(twins, 3, "fp16_captured", "cpu", 1, 0.0))
    ((driving,),) = captured
    assert len(driving.image) == 3
    assert found.structure_ms is None
    assert found.decode_ms is None
    assert found.frame_ms == pytest.approx((14, 14, 14))
    assert found.modules_ms == {}


class Unsendable(RuntimeError):
    """Like those of torch's compiler: it cannot be sent to another process."""

    def __init__(self, message: str, *, frame: object) -> None:
        super().__init__(message)


@pytest.mark.parametrize(
    ("mode", "error", "failure"),
    [
        (
            "fp16_compiled",
            Unsendable("Cannot find a working triton\n  installation", frame=None),
            Failure("not compiled", "Unsendable: Cannot find a working triton installation"),
        ),
        (
            "fp16_captured",
            RuntimeError("CUDA error: operation not permitted when stream is capturing"),
            Failure(
                "not captured", "RuntimeError: CUDA error: operation not permitted when stream is capturing"
            ),
        ),
        (
            "fp16_captured",
            torch.OutOfMemoryError("CUDA out of memory."),
            Failure("no memory", "OutOfMemoryError: CUDA out of memory."),
        ),
    ],
)
def test_a_mode_that_fails_says_why(
    mode: Mode, error: Exception, failure: Failure, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(torch, "compile", fail)
    monkeypatch.setattr(costs, "Captured", fail)
    assert attempt(Row("tiny", 1, mode, "cpu", 1, 0.0)) == failure


def test_what_only_we_can_get_wrong_is_no_failure_of_a_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry.get("tiny"), "decode", lambda network: None)
    with pytest.raises(TypeError):
        attempt(Row("tiny", 1, "fp16", "cpu", 1, 0.0))


def test_a_row_that_does_not_fit_says_so() -> None:
    found = apart(Row("landmark_gan", 10**10, "float32", "cpu", 1, 0.0))
    assert isinstance(found, Failure)
    assert found.word == "no memory"


def test_other_mistakes_of_a_row_are_told() -> None:
    with pytest.raises(ValueError, match="unknown model 'nonesuch'"):
        apart(Row("nonesuch", 1, "float32", "cpu", 1, 0.0))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
@pytest.mark.parametrize("mode", MODES["cuda"])
def test_a_gpu_counts_its_own_memory(mode: Mode) -> None:
    cost = apart(Row("landmark_gan", 2, mode, "cuda", 0, 0.1))
    assert isinstance(cost, Cost), cost
    assert cost.peak_mb is not None
    assert cost.peak_mb > 4 * cost.parameters / 1e6
    assert (cost.decode_ms is None) == (mode == "fp16_captured")
