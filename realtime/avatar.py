"""One session's avatar: its portrait, its settings, and what is remembered of its driver."""

import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from models.contract import Controls
from realtime.framing import Framing

EASE_S = 1.0  # from the last pose to the neutral one after the face was lost
CALIBRATION_S = 0.5  # how much of the driver's rest a neutral pose is the centre of
RETURN_S = 0.2  # from the held pose back to the live one after the face came back

Picture = npt.NDArray[np.uint8]  # H×W×3 RGB


@dataclass(frozen=True)
class Portrait:
    """Source pictures made ready: its code on the device, and how its avatar is put on the canvas."""

    appearance: Any  # the generator's AppearanceCode, batch 1
    framing: Framing
    warnings: tuple[str, ...] = ()  # what its owner should know, one sentence each


class Cue(NamedTuple):
    """What is known of a frame before it is drawn."""

    face: bool  # is the driver's to be seen
    first: bool  # nothing is known of the driver's rest yet: it is this frame
    hold: bool  # from now on what was shown last is what is eased from
    ease: float  # how far the way from there is gone, [0, 1]


@dataclass
class Avatar:
    """Touched by the engine alone, but for `portrait` and `controls`, which may be replaced whole at any
    time, `calibrate` and `calibrating`."""

    portrait: Portrait
    controls: Controls = field(default_factory=Controls.default)
    neutral: Any = None  # the driver's StructureCode at rest
    _asked: bool = True  # for a calibration that has not begun yet
    _rest: list[Any] | None = None  # codes of a calibration under way
    _rest_since: float = 0.0
    _provisional: bool = True  # no calibration has been completed yet
    _held_since: float | None = None  # since when is it eased from what was held; None: it is not
    _face: bool | None = None  # in the last frame; None before the first
    _slot: int | None = None  # its place in the engine
    _there: tuple[Any, ...] = ()  # portrait, neutral and controls, as that place has them
    _leave: "weakref.finalize[Any, Avatar] | None" = None  # gives the place back

    def calibrate(self) -> None:
        """Take a new neutral pose from the driver's next half second. Any thread may call it."""
        self._asked = True

    @property
    def calibrating(self) -> bool:
        """Is a calibration asked for, or under way?"""
        return self._asked or self._rest is not None

    def leave(self) -> None:
        """Give the place in the engine back. A frame after that takes a new one."""
        if self._leave is not None:
            self._leave()
        self._slot, self._leave, self._there = None, None, ()

    def use_neutral(self, neutral: Any) -> None:
        """Set the neutral pose, a StructureCode of the driver, and end any calibration."""
        self.neutral, self._asked, self._rest, self._provisional = neutral, False, None, False

    def cue(self, face: bool, time_s: float) -> Cue:
        """For the next frame. When the face is lost the last pose is held, and eased to the source's own
        within `EASE_S`; when it returns, back."""
        first = face and self.neutral is None
        changed = face is not self._face
        hold = changed and self._face is not None
        self._face = face
        if hold:
            self._held_since = time_s
        ease = 1.0
        if self._held_since is not None:
            passed = (time_s - self._held_since) / (RETURN_S if face else EASE_S)
            if passed < 1:
                ease = passed * passed * (3 - 2 * passed)
            else:
                self._held_since = None
        return Cue(face, first, hold, ease)

    def forget_pose(self) -> None:
        """There is nothing to ease from: the portrait is another."""
        self._held_since = None

    def rest(self, code: Any, time_s: float, neutral: Callable[[Sequence[Any]], Any]) -> None:
        """While it is calibrated: a frame's StructureCode (batch 1). The very first neutral is the centre of
        what there is so far; a later one replaces the old one once its half second is over. neutral: the
        generator's."""
        if self._asked:
            self._rest, self._rest_since = [], time_s
            self._asked = False  # after the list is there: between the two no calibration would seem to be
        if self._rest is None:
            return
        self._rest.append(code)
        over = time_s - self._rest_since >= CALIBRATION_S
        if over or self._provisional:
            self.neutral = neutral(self._rest)
        if over:
            self._rest, self._provisional = None, False
