"""Graphs in ONNX Runtime, against the calls that they were made of."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from models.contract import Controls, CropRule, Observation, Reenactor, cat_codes, map_code
from models.describe import example

DTYPES = {
    "tensor(float)": torch.float32,
    "tensor(float16)": torch.float16,
    "tensor(int64)": torch.int64,
    "tensor(bool)": torch.bool,
}

Network = Reenactor[Any, Any]


@dataclass(frozen=True)
class Place:
    """A tensor that goes into a graph, or comes out."""

    name: str
    dtype: torch.dtype
    shape: tuple[int | str, ...]  # a word for what is free


class Session:
    """A graph, on the CPU, with as many threads as torch has."""

    def __init__(self, path: Path) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3  # errors; what it warns of is how it arranges its own work
        self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.inputs = _places(self._session.get_inputs())
        self.outputs = _places(self._session.get_outputs())

    def __call__(self, known: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What the graph gives, by name. known: what it takes, by name, in any type, and whatever else."""
        feed = {one.name: known[one.name].to(one.dtype).numpy() for one in self.inputs}
        found = self._session.run(None, feed)
        return {one.name: torch.from_numpy(array) for one, array in zip(self.outputs, found, strict=True)}


def _places(found: Sequence[Any]) -> tuple[Place, ...]:
    return tuple(Place(one.name, DTYPES[one.type], tuple(one.shape)) for one in found)


def scene(network: Network, batch: int, seed: int) -> dict[str, Any]:
    """All that graphs take and give, by the names in `GRAPHS`, as torch finds it in float32.

    The rows differ, but for those of `neutral`, and of an appearance that is made of several pictures.
    """
    spec = network.spec
    several = spec.max_sources > 1
    source = faces(spec.source, min(batch, spec.max_sources) if several else batch, 3 * seed)
    driving, rest = (faces(spec.driving, batch, 3 * seed + part) for part in (1, 2))
    pictures = [
        map_code(lambda tensor, row=row: tensor[row : row + 1], source) for row in range(len(source.image))
    ]
    with torch.no_grad():
        if several:
            appearance = cat_codes([network.encode_appearance(pictures)] * batch)
        else:
            appearance = cat_codes([network.encode_appearance([one]) for one in pictures])
        structure, codes = network.encode_structure(driving), network.encode_structure(rest)
        neutral = cat_codes([network.neutral([codes])] * batch)
        controls, share = wishes(batch, seed), torch.linspace(0.3, 0.8, batch)
        moved = network.transfer(structure, neutral, appearance, controls)
        blended = network.blend(structure, codes, share)
        rgb, alpha = network.decode(appearance, moved)
    unread: dict[str, Any] = {name: None for name in ("image", "points") if name not in spec.reads}
    # Whether there is a face is no graph's matter.
    absent: dict[str, Any] = {"valid": None, "person": None}
    return {
        "source": source._replace(**absent),
        "driving": driving._replace(**absent, **unread),
        "appearance": appearance,
        "structure": structure,
        "codes": codes,
        "neutral": neutral,
        "controls": controls,
        "moved": moved,
        "a": structure,
        "b": codes,
        "t": share,
        "blended": blended,
        "rgb": rgb,
        "alpha": alpha,
    }


def faces(rule: CropRule, count: int, seed: int) -> Observation:
    """The mean face, as many times, each somewhat turned and bent and in another light."""
    one, dice = example(rule), torch.Generator().manual_seed(seed)

    def thrown(*shape: int) -> Tensor:
        return torch.rand(shape, generator=dice) * 2 - 1

    assert one.points is not None, "an example has landmarks"
    angle = 0.2 * thrown(count)
    turn = torch.stack((angle.cos(), -angle.sin(), angle.sin(), angle.cos()), 1).view(-1, 2, 2)
    xy = (one.points[..., :2] - 0.5) @ turn + 0.5
    points = torch.cat((xy, one.points[..., 2:].expand(count, -1, -1)), 2)
    spots = F.interpolate(thrown(count, 3, 8, 8), size=one.image.shape[2:], mode="bilinear")
    return Observation(
        image=(one.image + 0.2 * spots).clamp(0, 1),
        points=points + 0.003 * thrown(*points.shape),
        to_frame=one.to_frame * (1 + 0.1 * thrown(count, 1, 1)),
        valid=torch.ones(count, dtype=torch.bool),
    )


def wishes(batch: int, seed: int) -> Controls:
    """Relative and absolute in turn; all else anywhere from 0 to 1, which each of the settings may be."""
    dice = torch.Generator().manual_seed(seed)
    drawn = map_code(lambda tensor: torch.rand(tensor.shape, generator=dice), Controls.default(batch))
    return drawn._replace(relative=(torch.arange(batch) % 2 == 0).float())


def furthest(found: Mapping[str, Tensor], truth: Mapping[str, Tensor]) -> tuple[float, str]:
    """The largest difference of any tensor, in that tensor's own largest number, and the tensor's name."""
    return max((difference(tensor, truth[name][: len(tensor)]), name) for name, tensor in found.items())


def difference(found: Tensor, truth: Tensor) -> float:
    """The largest, in the truth's largest number, or as it is where that is nought. Infinite for NaN and for
    another shape."""
    if found.shape != truth.shape:
        return math.inf
    most = float((found.double() - truth.double()).abs().max()) / (float(truth.double().abs().max()) or 1.0)
    return math.inf if math.isnan(most) else most


def decibels(found: Tensor, truth: Tensor) -> float:
    """Of pictures in [0, 1]: the peak against what differs. ∞ where nothing does, −∞ where there is NaN."""
    power = float((found.double() - truth.double()).square().mean())
    if math.isnan(power):
        return -math.inf
    return -10 * math.log10(power) if power else math.inf
