"""Sliders: named directions of the structure code, along which a session may push what its avatar does.

    network.direct(directions)    # the sliders `EDITS` are there …
    network.direct(None)          # … and gone

`python -m trainer.export --directions` finds them in rendered clips. They are in the weights, or they are
not: files and checkpoints without them are as good as ever. K = len(EDITS) sliders, in that order.
"""

import abc
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from models.contract import EDITS, A, Controls, Reenactor, S

KEY = "directions"  # in the weights


class Directed(Reenactor[A, S]):
    """A network whose structure code is one tensor, in which straight lines mean something."""

    directions: Tensor | None  # K×…: what a slider at 1 adds to a code; None: there are no sliders

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer(KEY, None)

    @property
    @abc.abstractmethod
    def code_shape(self) -> tuple[int, ...]:
        """Of one structure code."""

    def direct(self, directions: Tensor | None) -> None:
        """Have sliders along these directions, or none; `spec` says so. Raises ValueError for another shape
        than K×…, and for numbers that are not finite."""
        shape = (len(EDITS), *self.code_shape)
        if directions is not None and directions.shape != shape:
            raise ValueError(f"directions are {tuple(directions.shape)}; {self.spec.name} needs {shape}")
        if directions is not None and not bool(directions.isfinite().all()):
            raise ValueError("directions hold NaN or infinite numbers; expected are finite ones")
        self._place(directions)

    def pushed(self, code: Tensor, controls: Controls) -> Tensor:
        """A code (B×…) and what the sliders add to it, whatever the driver does and the gains say."""
        if self.directions is None:
            return code
        wishes = torch.stack([getattr(controls, name) for name in EDITS], 1)
        wishes = wishes.view(*wishes.shape, *[1] * len(self.code_shape))
        return code + (wishes * self.directions.float()).sum(1)

    def _place(self, directions: Tensor | None) -> None:
        self.directions = directions
        others = tuple(name for name in self.spec.controls if name not in EDITS)
        self.spec = replace(self.spec, controls=others if directions is None else (*others, *EDITS))

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *rest: Any) -> None:
        """Sliders come and go with the weights."""
        found = state_dict.get(prefix + KEY)
        own = next(self.parameters()).device
        self._place(None if found is None else torch.zeros_like(found, device=own))
        super()._load_from_state_dict(state_dict, prefix, *rest)


def expected(network: Reenactor[Any, Any], keys: Collection[str]) -> dict[str, Tensor]:
    """What a file with those keys has to hold to be the network's weights: directions only if it has some."""
    state: dict[str, Tensor] = dict(network.state_dict())
    if isinstance(network, Directed):
        state.pop(KEY, None)
        if KEY in keys:
            state[KEY] = torch.zeros(len(EDITS), *network.code_shape)
    return state
