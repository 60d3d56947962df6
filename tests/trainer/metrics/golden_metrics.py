"""The metrics' fixture: inputs, expected values and how far off one may be."""

import json
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tests.material import shared_folder
from tests.parity.golden import Golden


class Fixture:
    """Skips where the folder of the fixtures isn't."""

    def __init__(self) -> None:
        folder = shared_folder("golden") / "public"
        meta: dict[str, Any] = json.loads((folder / "metrics.json").read_text())
        self._values, self._tolerance = meta["values"], meta["tolerance"]
        self._inputs = Golden(str(folder), "metrics").inputs()

    def __getitem__(self, name: str) -> npt.NDArray[np.float64]:
        """An input in float64."""
        return np.asarray(self._inputs[f"metrics.{name}"], np.float64)

    def pictures(self) -> tuple[Tensor, Tensor]:
        """1×3×48×64 each."""
        a = self["a"]
        b = np.clip(a + 0.1 * self["noise"], 0, 1)
        return torch.from_numpy(a)[None], torch.from_numpy(b)[None]

    def check(self, found: Tensor | float, name: str) -> None:
        off = abs(float(torch.as_tensor(found).mean()) - self._values[name])
        assert off <= self._tolerance[name], (name, off)
