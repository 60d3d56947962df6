"""One ONNX graph in ONNX Runtime, from tensors to tensors without needless copies.

    graph = Graph(Path("structure.onnx"), takes, gives)
    code = graph({"driving.image": image})["structure.token"]

onnxruntime is imported when a graph is opened.
"""

import logging
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

log = logging.getLogger(__name__)

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
ONLY_ERRORS = 3  # of ONNX Runtime's log: what it warns of is how it arranges its own work
DTYPES = {
    "float32": torch.float32,
    "float16": torch.float16,
    "int64": torch.int64,
    "bool": torch.bool,
}
_NAMES = {"tensor(float)": "float32", "tensor(float16)": "float16"}  # others are called as ours: tensor(bool)


class Place(NamedTuple):
    """A tensor that goes into a graph, or comes out."""

    name: str
    dtype: str  # one of `DTYPES`
    shape: tuple[int | str, ...]  # first a word where that is the number of rows


class _Bound(NamedTuple):
    """What belongs to one number of rows."""

    binding: Any
    options: Any
    inputs: dict[str, Tensor]  # on CUDA, what is copied into; on the CPU none
    outputs: dict[str, Tensor]


class Graph:
    """A graph, loaded.

    On the CPU it reads its inputs where they lie. It takes as many threads as torch has now, which sleep
    while there is nothing to do, as tracking and coding want the cores.

    stream: on CUDA, where it works; None for the CPU. recorded: on CUDA, make a CUDA graph of the first call
    with each number of rows, and replay it in those that follow. cuda: what keeps streams, `torch.cuda`.

    Raises ValueError for a file that ONNX Runtime can't load, and for one with other inputs or outputs.
    """

    def __init__(
        self,
        path: Path,
        takes: Sequence[Place],
        gives: Sequence[Place],
        stream: Any = None,
        recorded: bool = False,
        cuda: Any = torch.cuda,
    ) -> None:
        self.takes, self.gives = tuple(takes), tuple(gives)
        self._session, self._recorded = _opened(path, stream, recorded)
        _compare(f"{path}: its inputs", self.takes, self._session.get_inputs())
        _compare(f"{path}: its outputs", self.gives, self._session.get_outputs())
        self.on_cuda = CUDA in self._session.get_providers()
        self._stream, self._cuda = (stream if self.on_cuda else None), cuda
        self._bound: dict[int, _Bound] = {}
        self._lock = threading.Lock()  # portraits are prepared beside the engine's thread

    def __call__(self, known: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What it gives, by name. known: what it takes, by name, in any type, and whatever else."""
        with self._lock:
            return {name: tensor.clone() for name, tensor in self._run(known).items()}

    def shown(self, known: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The same in the graph's own memory: the next call with as many rows writes over it."""
        with self._lock:
            return self._run(known)

    @torch.inference_mode()
    def _run(self, known: Mapping[str, Tensor]) -> dict[str, Tensor]:
        rows = len(known[self.takes[0].name])
        if rows not in self._bound:
            self._bound[rows] = self._bind(rows)
        bound = self._bound[rows]
        given = {one.name: known[one.name] for one in self.takes}  # which live until the graph has run
        for one in self.takes:
            tensor = given[one.name]
            assert len(tensor) == rows, f"{one.name} has {len(tensor)} rows, not {rows}"
            if self._stream is not None:
                bound.inputs[one.name].copy_(tensor)
                continue
            given[one.name] = tensor = tensor.to("cpu", DTYPES[one.dtype]).contiguous()
            _place(bound.binding.bind_input, one, tensor)
        if self._stream is None:
            self._session.run_with_iobinding(bound.binding, bound.options)
            return bound.outputs
        current = self._cuda.current_stream()
        self._stream.wait_stream(current)
        self._session.run_with_iobinding(bound.binding, bound.options)
        current.wait_stream(self._stream)
        return bound.outputs

    def _bind(self, rows: int) -> _Bound:
        """Memory for what a call with so many rows gives, and, on CUDA, for what it takes: a recorded graph
        looks for it where it was at first."""
        from onnxruntime import RunOptions

        binding, options = self._session.io_binding(), RunOptions()
        device = "cpu" if self._stream is None else self._stream.device
        inputs: dict[str, Tensor] = {}
        if self._stream is not None:
            options.add_run_config_entry("gpu_graph_id", str(rows) if self._recorded else "-1")
            # Whoever reads the results waits for the stream.
            options.add_run_config_entry("disable_synchronize_execution_providers", "1")
            inputs = {one.name: _room(one, rows, device) for one in self.takes}
            for one in self.takes:
                _place(binding.bind_input, one, inputs[one.name])
        outputs = {one.name: _room(one, rows, device) for one in self.gives}
        for one in self.gives:
            _place(binding.bind_output, one, outputs[one.name])
        return _Bound(binding, options, inputs, outputs)


def _room(place: Place, rows: int, device: Any) -> Tensor:
    sides = (rows if isinstance(side, str) else side for side in place.shape)
    return torch.zeros(*sides, dtype=DTYPES[place.dtype], device=device)


def _place(bind: Any, place: Place, tensor: Tensor) -> None:
    kind = np.dtype(place.dtype).type
    bind(place.name, tensor.device.type, tensor.device.index or 0, kind, tensor.shape, tensor.data_ptr())


def _opened(path: Path, stream: Any, recorded: bool) -> tuple[Any, bool]:
    """A session, and whether its calls are recorded. Where ONNX Runtime can't, the log is told."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.intra_op_num_threads = torch.get_num_threads()
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = ONLY_ERRORS
    providers: list[Any] = [CPU]
    if stream is not None:
        wishes = {"user_compute_stream": str(stream.cuda_stream), "enable_cuda_graph": str(int(recorded))}
        providers.insert(0, (CUDA, {"device_id": str(stream.device.index or 0), **wishes}))
    try:
        return onnxruntime.InferenceSession(path, options, providers=providers), recorded
    except Exception as error:  # it has a dozen of its own, without a common name
        if recorded:
            log.warning("%s can't be recorded and is run as it is: %s", path, _line(error))
            return _opened(path, stream, recorded=False)
        raise ValueError(f"{path}: ONNX Runtime can't load it: {_line(error)}") from None


def _line(error: Exception) -> str:
    return " ".join(str(error).split())


def _compare(whose: str, told: Sequence[Place], found: Sequence[Any]) -> None:
    """Raises ValueError for what is otherwise than told."""
    there = [
        Place(one.name, _NAMES.get(one.type, one.type[len("tensor(") : -1]), tuple(one.shape))
        for one in found
    ]
    if there == list(told):
        return
    wrong = next((pair for pair in zip(there, told, strict=False) if pair[0] != pair[1]), None)
    if wrong is None:
        raise ValueError(f"{whose} are {len(there)}; spec.json tells of {len(told)}")
    raise ValueError(f"{whose} include {_described(wrong[0])}; spec.json tells of {_described(wrong[1])}")


def _described(place: Place) -> str:
    return f"{place.name} ({'×'.join(map(str, place.shape)) or 'one number'} {place.dtype})"
