"""Which settings of the motion a session may choose, in which range, and the tensors that the generator
takes."""

from collections.abc import Mapping

import torch

from models.contract import EDITS, OFF, Controls, Spec

SWITCHES = ("relative", "retarget", "mouth_pixels")  # off or on, nothing between
HIGHEST = dict.fromkeys((*SWITCHES, "stitching", "shading", *EDITS), 1.0)  # the others go to 2
LOWEST = dict.fromkeys(EDITS, -1.0)  # the others begin at 0


class ControlPanel:
    """The controls that one generator honours.

    ceilings: control → the most that a session may ask for, lower than the control's own range.
    """

    def __init__(self, spec: Spec, ceilings: Mapping[str, float]) -> None:
        self._ceilings = dict(ceilings)
        self._highest = {name: min(HIGHEST.get(name, 2.0), ceilings.get(name, 2.0)) for name in spec.controls}

    @property
    def defaults(self) -> dict[str, float]:
        """Every control's value before anybody changed it."""
        return {name: min(float(name not in OFF), highest) for name, highest in self._highest.items()}

    def describe(self) -> dict[str, dict[str, float]]:
        """Name → min, max, step, value, for the page."""
        return {
            name: {
                "min": LOWEST.get(name, 0.0),
                "max": self._highest[name],
                "step": 1.0 if name in SWITCHES else 0.05,
                "value": value,
            }
            for name, value in self.defaults.items()
        }

    def check(self, wishes: object) -> dict[str, float]:
        """Wishes as a client sent them, as numbers. Raises ValueError for what is unknown, no number or
        out of range."""
        if not isinstance(wishes, dict):
            raise ValueError("controls must be an object of names and numbers")
        checked = {}
        for name, value in wishes.items():
            if name not in self._highest:
                raise ValueError(f"unknown control {str(name)[:40]!r}; known: {', '.join(self._highest)}")
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise ValueError(f"control {name}: must be a number")
            lowest, highest = LOWEST.get(name, 0.0), self._highest[name]
            if not lowest <= value <= highest:
                raise ValueError(f"control {name}: must be from {lowest:g} to {highest:g}")
            if name in SWITCHES and value not in (0, 1):
                raise ValueError(f"control {name}: must be 0 or 1")
            checked[name] = float(value)
        return checked

    def tensors(self, values: Mapping[str, float], device: torch.device | str) -> Controls:
        """The values as the generator takes them; the ceilings hold whatever the values say."""
        limited = {name: min(value, self._ceilings.get(name, value)) for name, value in values.items()}
        return Controls.default(1, device, **{**self._ceilings, **limited})
