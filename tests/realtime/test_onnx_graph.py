"""A graph in ONNX Runtime: where its inputs and outputs lie, on the CPU, and on CUDA by one that writes down
what it is asked for."""

import ctypes
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper
from torch import Tensor

from realtime.onnx_graph import CPU, CUDA, Graph, Place

TAKES = (Place("a.x", "float32", ("batch", 2)), Place("b.y", "float16", ("batch",)))
GIVES = (Place("c.sum", "float32", ("batch", 2)), Place("c.first", "float32", (1, 2)))
FIRST = np.array([0], np.int64)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """x + y of each row, and that of the first."""
    nodes = [
        helper.make_node("Cast", ["b.y"], ["wide"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["wide", "one"], ["column"]),
        helper.make_node("Add", ["a.x", "column"], ["c.sum"]),
        helper.make_node("Gather", ["c.sum", "first"], ["c.first"]),
    ]
    ends = [
        [
            helper.make_tensor_value_info(
                one.name, TensorProto.FLOAT if one.dtype == "float32" else TensorProto.FLOAT16, one.shape
            )
            for one in places
        ]
        for places in (TAKES, GIVES)
    ]
    constants = [
        onnx.numpy_helper.from_array(FIRST, "first"),
        onnx.numpy_helper.from_array(FIRST + 1, "one"),
    ]
    graph = helper.make_graph(nodes, "sum", *ends, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    path = tmp_path / "sum.onnx"
    onnx.save(model, path)
    return path


def given(rows: int, first: float = 0.0) -> dict[str, Tensor]:
    return {"a.x": torch.arange(2.0 * rows).view(rows, 2) + first, "b.y": torch.full((rows,), 0.5)}


def test_each_number_of_rows(file: Path) -> None:
    graph = Graph(file, TAKES, GIVES)
    assert not graph.on_cuda
    for rows in (1, 3, 2, 1):
        found = graph(given(rows, rows) | {"more": torch.ones(1)})
        assert list(found) == ["c.sum", "c.first"]
        assert torch.equal(found["c.sum"], given(rows, rows + 0.5)["a.x"])
        assert torch.equal(found["c.first"], found["c.sum"][:1])


def test_inputs_may_lie_anyhow_in_memory(file: Path) -> None:
    graph, wide = Graph(file, TAKES, GIVES), torch.arange(12.0).view(4, 3)
    known = {"a.x": wide[1:3, 1:], "b.y": torch.tensor(2.0, dtype=torch.float64).expand(2)}
    assert torch.equal(graph(known)["c.sum"], wide[1:3, 1:] + 2)


def test_what_is_given_stays_and_what_is_shown_does_not(file: Path) -> None:
    graph = Graph(file, TAKES, GIVES)
    kept, shown, other = graph(given(2))["c.sum"], graph.shown(given(2))["c.sum"], graph.shown(given(1))
    assert torch.equal(kept, shown)
    again = graph.shown(given(2, 10))["c.sum"]
    assert again.data_ptr() == shown.data_ptr() != other["c.sum"].data_ptr()
    assert torch.equal(shown, kept + 10)


def test_rows_that_do_not_fit_together_are_no_guess(file: Path) -> None:
    with pytest.raises(AssertionError, match=r"b\.y has 2 rows, not 3"):
        Graph(file, TAKES, GIVES)(given(3) | {"b.y": torch.ones(2)})


@pytest.mark.parametrize(
    ("takes", "gives", "reason"),
    [
        (TAKES[:1], GIVES, "its inputs are 2; spec.json tells of 1"),
        (
            (TAKES[0]._replace(shape=("batch", 3)), TAKES[1]),
            GIVES,
            r"its inputs include a\.x \(batch×2 float32\); spec\.json tells of a\.x \(batch×3 float32\)",
        ),
        ((TAKES[0], TAKES[1]._replace(dtype="bool")), GIVES, r"b\.y \(batch float16\).* b\.y \(batch bool\)"),
        (TAKES, GIVES[::-1], r"its outputs include c\.sum .* tells of c\.first"),
    ],
)
def test_a_graph_that_is_otherwise_than_told(
    file: Path, takes: tuple[Place, ...], gives: tuple[Place, ...], reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        Graph(file, takes, gives)


def test_a_file_that_is_no_graph(file: Path) -> None:
    file.write_bytes(b"no graph")
    with pytest.raises(ValueError, match=r"^.*sum\.onnx: ONNX Runtime can't load it: .*") as told:
        Graph(file, TAKES, GIVES)
    assert "\n" not in str(told.value)


def test_it_takes_torchs_threads_and_lets_them_sleep(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, session = [], onnxruntime.InferenceSession

    def opened(path: Path, options: Any, providers: list[str]) -> Any:
        asked.append((options, providers))
        return session(path, options, providers=providers)

    monkeypatch.setattr(onnxruntime, "InferenceSession", opened)
    torch.set_num_threads(2)
    Graph(file, TAKES, GIVES)
    ((options, providers),) = asked
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (2, 1)
    assert options.execution_mode == onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"
    assert providers == [CPU]


# -- CUDA ---------------------------------------------------------------------------------------------------


class Node(NamedTuple):
    name: str
    type: str
    shape: list[int | str]


class Stream:
    """In place of a CUDA stream, on a device whose memory is the usual one."""

    device, cuda_stream = torch.device("cpu"), 4711

    def __init__(self, name: str, log: list[str]) -> None:
        self.name, self.log = name, log

    def wait_stream(self, other: "Stream") -> None:
        self.log.append(f"{self.name} waits for {other.name}")


class Binding:
    def __init__(self) -> None:
        self.places: dict[str, tuple[int, tuple[int, ...], Any]] = {}

    def bind(self, name: str, device: str, number: int, kind: Any, shape: Any, address: int) -> None:
        self.places[name] = (address, tuple(shape), kind)

    bind_input = bind_output = bind


class Recorder:
    """In place of onnxruntime and `torch.cuda`. Like a CUDA graph, a recorded call happens again where
    the memory was when it was recorded."""

    def __init__(self, loads: Callable[[dict[str, str]], bool] = lambda wishes: True) -> None:
        self.log: list[str] = []
        self.asked: list[dict[str, str]] = []
        self.loads = loads
        self.there = [CUDA, CPU]  # the providers of a session
        self.graphs: dict[str, Binding] = {}

    def InferenceSession(self, path: Path, options: Any, providers: list[Any]) -> "Recorder":
        (name, wishes), rest = providers
        assert (name, rest) == (CUDA, CPU)
        self.asked.append(wishes)
        if not self.loads(wishes):
            raise RuntimeError("cannot use the graph\ncapture feature")
        return self

    def current_stream(self) -> Stream:
        return Stream("usual", self.log)

    def get_providers(self) -> list[str]:
        return self.there

    def get_inputs(self) -> list[Node]:
        types = {"float32": "tensor(float)", "float16": "tensor(float16)"}
        return [Node(one.name, types[one.dtype], list(one.shape)) for one in TAKES]

    def get_outputs(self) -> list[Node]:
        return [Node(one.name, "tensor(float)", list(one.shape)) for one in GIVES]

    def io_binding(self) -> Binding:
        return Binding()

    def run_with_iobinding(self, binding: Binding, options: onnxruntime.RunOptions) -> None:
        graph = options.get_run_config_entry("gpu_graph_id")
        assert options.get_run_config_entry("disable_synchronize_execution_providers") == "1"
        if graph != "-1":
            binding = self.graphs.setdefault(graph, binding)
        self.log.append(f"run {graph}")
        x, y, total, first = (self._array(binding, one.name) for one in (*TAKES, *GIVES))
        total[:] = x + y[:, None]
        first[:] = total[:1]

    @staticmethod
    def _array(binding: Binding, name: str) -> np.ndarray:
        address, shape, kind = binding.places[name]
        size = int(np.prod(shape)) * np.dtype(kind).itemsize
        return np.frombuffer((ctypes.c_char * size).from_address(address), kind).reshape(shape)


def on_cuda(recorder: Recorder, monkeypatch: pytest.MonkeyPatch, recorded: bool = True) -> Graph:
    monkeypatch.setattr(onnxruntime, "InferenceSession", recorder.InferenceSession)
    return Graph(Path("sum.onnx"), TAKES, GIVES, Stream("own", recorder.log), recorded, recorder)


def test_each_number_of_rows_is_a_cuda_graph_whose_inputs_are_copied_in(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recorder = Recorder()
    graph = on_cuda(recorder, monkeypatch)
    assert graph.on_cuda
    assert recorder.asked == [{"device_id": "0", "user_compute_stream": "4711", "enable_cuda_graph": "1"}]
    for first in (0, 10, 20):
        for rows in (1, 3):
            known = given(rows, first)  # elsewhere each time
            assert torch.equal(graph(known)["c.sum"], known["a.x"] + 0.5)
    assert set(recorder.graphs) == {"1", "3"}
    assert recorder.log[:3] == ["own waits for usual", "run 1", "usual waits for own"]


def test_what_is_called_once_is_not_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder()
    graph = on_cuda(recorder, monkeypatch, recorded=False)
    assert [wishes["enable_cuda_graph"] for wishes in recorder.asked] == ["0"]
    assert torch.equal(graph(given(2))["c.first"], torch.tensor([[0.5, 1.5]]))
    assert recorder.log[1] == "run -1"


def test_a_graph_that_cannot_be_recorded_runs_as_it_is(monkeypatch: pytest.MonkeyPatch, caplog) -> None:
    recorder = Recorder(loads=lambda wishes: wishes["enable_cuda_graph"] == "0")
    graph = on_cuda(recorder, monkeypatch)
    assert "sum.onnx can't be recorded and is run as it is: cannot use the graph capture" in caplog.text
    assert torch.equal(graph(given(1))["c.sum"], torch.tensor([[0.5, 1.5]]))
    assert recorder.log[1] == "run -1"


def test_a_graph_that_does_not_load_on_cuda_either(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="ONNX Runtime can't load it: cannot use the graph capture feature$"):
        on_cuda(Recorder(loads=lambda wishes: False), monkeypatch)
