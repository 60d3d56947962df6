"""The engine: portraits prepared once, then one driving frame after another turned into the avatar's frame.

`Engine` is the whole path without threads or time of its own, so that the offline tool and the server
(`realtime/engine_thread.py`) share it. A portrait may be prepared in another thread than the one that
renders: both give their work to the device's default stream, which does it in the order in which it came.
"""

import time
import weakref
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from models.contract import Controls, Observation, Reenactor, T, cat_codes, map_code
from models.face_tracker import person_mask
from models.observation import observe
from models.portrait_face import portrait_face
from realtime.devices import lowered
from realtime.framing import Canvas, Framing
from realtime.slots import Slots

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


class Rendered(NamedTuple):
    """One frame of an avatar."""

    picture: Picture  # the canvas
    face: bool  # False: the driver's face was lost and the pose is held or eased
    stages_ms: dict[
        str, float
    ]  # wall time of structure, transfer, decode, composite; of all that were together
    batch: int = 1  # how many sessions were drawn together


@dataclass
class Avatar:
    """One session's avatar: its portrait, its settings, and what it remembers of its driver. Touched by the
    engine alone, but for `portrait` and `controls`, which may be replaced whole at any time, `calibrate` and
    `calibrating`."""

    portrait: Portrait
    controls: Controls = field(default_factory=Controls.default)
    neutral: Any = None  # the driver's StructureCode at rest
    _asked: bool = True  # for a calibration that the engine has not begun yet
    _rest: list[Any] | None = None  # codes of a calibration under way
    _rest_since: float = 0.0
    _provisional: bool = True  # no calibration has been completed yet
    _shown: Any = None  # the last code that was decoded, in the source's terms
    _shown_for: Portrait | None = None  # the portrait that it belongs to
    _held: Any = None  # the code shown when the face was lost, or came back
    _held_since: float | None = None
    _face: bool | None = None  # in the last frame; None before the first
    _slot: int | None = None  # where the engine has its portrait's code
    _leave: "weakref.finalize[Any, Avatar] | None" = None  # gives the slot back

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
        self._slot = self._leave = self._shown_for = None

    def use_neutral(self, neutral: Any) -> None:
        """Set the neutral pose, a StructureCode of the driver, and end any calibration."""
        self.neutral, self._asked, self._rest, self._provisional = neutral, False, None, False


class Request(NamedTuple):
    """What a frame is to be made of: one observation (batch 1, on the CPU), and its time, which never runs
    backwards for the same avatar."""

    avatar: Avatar
    observation: Observation
    time_s: float


class Engine:
    """The path from an observation to a frame on the canvas, for one generator on one device.

    half: the type for what of the generator may be less precise than float32; None for nothing.
    slots: for how many avatars at once memory is taken when the first of them appears.
    """

    def __init__(
        self,
        generator: Reenactor[Any, Any],
        device: torch.device | str = "cpu",
        canvas: Canvas | None = None,
        clock: Callable[[], float] = time.perf_counter,
        half: torch.dtype | None = None,
        slots: int = 1,
    ) -> None:
        self.generator = generator.to(device).eval().requires_grad_(False)
        self.device = torch.device(device)
        self.canvas = canvas
        self.half = half
        self._slots: Slots[Any] = Slots(slots)
        self._clock = clock

    def prepare(self, *pictures: Picture) -> Portrait:
        """A portrait from RGB pictures of one person, 1 … the generator's `max_sources`; the avatar is put
        into the first. Any thread may call it, while another renders too. Raises ValueError where one has
        no usable face, and for too many pictures."""
        rule = self.generator.spec.source
        sources, warnings = [], []
        for number, picture in enumerate(pictures, 1):
            which = f"source picture {number}: " if len(pictures) > 1 else ""
            try:
                face = portrait_face(picture)
            except ValueError as error:
                raise ValueError(f"{which}{error}") from None
            warnings += [which + warning for warning in face.warnings]
            sources.append(observe(picture, face.points, rule, person=person_mask(picture)))
        return self.portrait(pictures[0], sources, tuple(warnings))

    @torch.inference_mode()
    def portrait(
        self, picture: Picture, sources: Sequence[Observation], warnings: tuple[str, ...] = ()
    ) -> Portrait:
        """A portrait from what was seen in its pictures (batch 1, on the CPU), of which `picture` is the
        first."""
        with self._lowered():
            appearance = self.generator.encode_appearance([self._upload(source) for source in sources])
        to_frame = sources[0].to_frame[0].numpy().astype(np.float64)
        framing = Framing(picture, to_frame, self.generator.spec.source.size, self.canvas, self.device)
        return Portrait(appearance, framing, warnings)

    def as_driver(self, picture: Picture) -> Observation:
        """The face of a source picture as if it were the driver's. Raises ValueError where there is no usable
        one."""
        return observe(picture, portrait_face(picture).points, self.generator.spec.driving)

    @torch.inference_mode()
    def encode(self, observation: Observation) -> Any:
        """The driver's structure code, for a neutral pose made by hand:
        `avatar.use_neutral(generator.neutral(codes))`."""
        with self._lowered():
            return self.generator.encode_structure(self._upload(observation))

    def render(self, avatar: Avatar, observation: Observation, time_s: float) -> Rendered:
        """The avatar's frame for one observation (batch 1, on the CPU). time_s: the frame's time, which never
        runs backwards."""
        return self.render_batch([Request(avatar, observation, time_s)])[0]

    @torch.inference_mode()
    def render_batch(self, requests: Sequence[Request]) -> list[Rendered]:
        """One frame of each of several avatars, in the order of the requests. Raises NotFinite where a
        network gave what is no number for any of them; what was shown before is then still what is held."""
        slots = [self._settle(request.avatar) for request in requests]
        # In the order of their slots the portraits' codes lie next to each other, and need not be copied.
        order = sorted(range(len(requests)), key=slots.__getitem__)
        rows = [requests[index] for index in order]
        faces = [bool(row.observation.valid[0]) for row in rows]
        appearance = self._slots.read(sorted(slots))
        marks = [self._clock()]
        codes = self._codes(rows, faces)
        marks.append(self._clock())
        codes = self._moved(rows, faces, appearance, codes)
        marks.append(self._clock())
        with self._lowered():
            rgb, alpha = self.generator.decode(appearance, _joined(codes))
        # One number that is none makes the sum none; to look at each takes 2.6 ms, the sum 0.1.
        if not bool(torch.isfinite(rgb.sum())):
            raise NotFinite("a frame was not drawn: the network gave what is no number")
        for row, code in zip(rows, codes, strict=True):
            row.avatar._shown = code
        marks.append(self._clock())
        pictures = [
            _portrait(row).framing.composite(rgb[index : index + 1], alpha[index : index + 1])
            for index, row in enumerate(rows)
        ]
        marks.append(self._clock())
        names = ("structure", "transfer", "decode", "composite")
        stages_ms = {name: 1e3 * (b - a) for name, a, b in zip(names, marks, marks[1:], strict=False)}
        rendered = [
            Rendered(picture, face, stages_ms, len(rows))
            for picture, face in zip(pictures, faces, strict=True)
        ]
        return [rendered[order.index(index)] for index in range(len(rows))]

    def _settle(self, avatar: Avatar) -> int:
        """The avatar's slot, its portrait's code in it."""
        if avatar._slot is None:
            avatar._slot = self._slots.take()
            avatar._leave = weakref.finalize(avatar, self._slots.free, avatar._slot)
        portrait = avatar.portrait
        if avatar._shown_for is not portrait:
            self._slots.write(avatar._slot, portrait.appearance)
            avatar._shown, avatar._shown_for, avatar._held = portrait.appearance.structure, portrait, None
        return avatar._slot

    def _codes(self, rows: Sequence[Request], faces: Sequence[bool]) -> list[Any]:
        """The driver's code of each row in which there is a face, and None of the others."""
        seen = [row for row, face in zip(rows, faces, strict=True) if face]
        if not seen:
            return [None] * len(rows)
        codes = iter(_rows(self.encode(_joined([row.observation for row in seen])), len(seen)))
        found = [next(codes) if face else None for face in faces]
        for row, code in zip(rows, found, strict=True):
            if code is not None:
                self._calibrate(row.avatar, code, row.time_s)
        return found

    def _moved(
        self, rows: Sequence[Request], faces: Sequence[bool], appearance: Any, codes: Sequence[Any]
    ) -> list[Any]:
        """What each row shows: the driver's motion in the source's terms, or the source's own pose without a
        face; eased."""
        seen = [index for index, face in enumerate(faces) if face]
        found = [_portrait(row).appearance.structure for row in rows]
        if seen:
            if any(rows[index].avatar.neutral is None for index in seen):
                raise NotFinite("a driver's rest is not known yet: the network gave what is no number")
            # Codes that are not moved are left out, which takes the others' portraits out of the whole.
            own = appearance if len(seen) == len(rows) else _joined([_row(appearance, at) for at in seen])
            moved = self.generator.transfer(
                _joined([codes[index] for index in seen]),
                _joined([rows[index].avatar.neutral for index in seen]),
                own,
                _joined([rows[index].avatar.controls for index in seen]),
            )
            for index, code in zip(seen, _rows(moved, len(seen)), strict=True):
                found[index] = code
        for index, (row, face) in enumerate(zip(rows, faces, strict=True)):
            found[index] = self._eased(row.avatar, found[index], face, row.time_s)
        return found

    def _calibrate(self, avatar: Avatar, structure: Any, time_s: float) -> None:
        """Collect the driver's rest. The very first neutral is the centre of what there is so far; a later
        one replaces the old one once its half second is over."""
        if avatar.calibrating and not _finite(structure):
            return
        if avatar._asked:
            avatar._rest, avatar._rest_since = [], time_s
            avatar._asked = False  # after the list is there: between the two no calibration would seem to be
        if avatar._rest is None:
            return
        avatar._rest.append(structure)
        over = time_s - avatar._rest_since >= CALIBRATION_S
        if over or avatar._provisional:
            avatar.neutral = self.generator.neutral(avatar._rest)
        if over:
            avatar._rest, avatar._provisional = None, False

    def _eased(self, avatar: Avatar, structure: Any, face: bool, time_s: float) -> Any:
        """Hold the last pose when the face is lost, ease to the source's own within `EASE_S`, and back when
        it returns."""
        if face != avatar._face:
            if avatar._face is not None:
                avatar._held, avatar._held_since = avatar._shown, time_s
            avatar._face = face
        if avatar._held is None or avatar._held_since is None:
            return structure
        passed = (time_s - avatar._held_since) / (RETURN_S if face else EASE_S)
        if passed >= 1:
            avatar._held = None
            return structure
        smooth = torch.full((1,), passed * passed * (3 - 2 * passed), device=self.device)
        return self.generator.blend(avatar._held, structure, smooth)

    def _lowered(self) -> AbstractContextManager[object]:
        return lowered(self.device.type, self.half)

    def _upload(self, observation: Observation) -> Observation:
        return map_code(lambda tensor: tensor.to(self.device, non_blocking=True), observation)


def _row(codes: T, index: int) -> T:
    """One of a batch, as a batch of one."""
    return map_code(lambda tensor: tensor[index : index + 1], codes)


def _rows(codes: T, count: int) -> list[T]:
    return [codes] if count == 1 else [_row(codes, index) for index in range(count)]


def _joined(codes: Sequence[T]) -> T:
    return codes[0] if len(codes) == 1 else cat_codes(codes)


def _portrait(request: Request) -> Portrait:
    """The one that is drawn; by now the avatar may have been given another."""
    portrait = request.avatar._shown_for
    assert portrait is not None
    return portrait


def _finite(code: Any) -> bool:
    return all(
        _finite(part) if isinstance(part, tuple) else bool(torch.isfinite(part).all())
        for part in code
        if part is not None
    )


class NotFinite(RuntimeError):
    """A network gave NaN or infinite numbers."""
