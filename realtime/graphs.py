"""A function's work on a GPU, recorded once and started as one piece.

    captured = Captured(draw, driving, controls)    # draw(driving, controls) → tensors
    picture = captured(driving, controls)           # every frame

A frame is a thousand small operations, and at a batch of one the GPU waits for Python to ask for the next.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from models.contract import map_code

WARM_UP = 3  # runs before the recording, in which libraries choose their kernels and take their memory

R = TypeVar("R")


class Captured(Generic[R]):
    """`function(*inputs)` as a CUDA graph, with memory of its own for `inputs` and `results`.

    function: of static shapes, no `.item()`, no host synchronisation, no randomness. What it reads besides
    its inputs has to stay where it is for as long as this lives.
    inputs: codes, on the current GPU, of the shapes and memory formats that every later call has.
    pool: memory that several graphs share, of which no two may run at the same time; None: its own. What they
    give lies apart.
    cuda: what records, `torch.cuda`.

    Recording and replays are in inference mode. There autocast keeps no weights that it has cast: it would
    free them when it ends, and the graph would still read them. The casts are part of the graph.
    """

    def __init__(
        self, function: Callable[..., R], *inputs: Any, pool: Any = None, cuda: Any = torch.cuda
    ) -> None:
        with torch.inference_mode(), _trying_kernels():
            self.inputs = [map_code(torch.clone, code) for code in inputs]
            # On another stream than the usual one, on which nothing can be recorded.
            side = cuda.Stream()
            side.wait_stream(cuda.current_stream())
            with cuda.stream(side):
                for _ in range(WARM_UP):
                    function(*self.inputs)
            cuda.current_stream().wait_stream(side)
            cuda.synchronize()
            self._graph = cuda.CUDAGraph()
            # Other threads may go on with their work meanwhile: portraits are prepared there.
            recording = cuda.graph(self._graph, pool=pool, stream=side, capture_error_mode="thread_local")
            with recording:
                self.results = function(*self.inputs)

    def __call__(self, *inputs: Any) -> R:
        """The results for those inputs, the first ones; what is left out stays as it last was. They are in
        the same memory every time: the next call writes over them. Returns before the GPU is done."""
        with torch.inference_mode():
            for static, code in zip(self.inputs, inputs, strict=False):
                map_code(fill, static, code)
        self.replay()
        return self.results

    def replay(self) -> None:
        """Run it on what is in `inputs`."""
        self._graph.replay()


@contextmanager
def _trying_kernels() -> Iterator[None]:
    """Let cuDNN try which kernels are the fastest, at the first run of each shape; a graph keeps them."""
    before, torch.backends.cudnn.benchmark = torch.backends.cudnn.benchmark, True
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before


def fill(static: Tensor, new: Tensor) -> Tensor:
    """Copy a tensor to where a graph reads or writes one, without waiting for it."""
    assert new.shape == static.shape, "captured for another shape"  # copy_ would repeat a batch of one
    return static.copy_(new, non_blocking=True)
