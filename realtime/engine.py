"""The engine: portraits prepared once, then one driving frame after another turned into the avatar's frame.

`Engine` is the whole path without threads or time of its own, so that the offline tool and the server share
it.
`EngineThread` renders for all sessions of a server: it takes at most one newest frame a session. A portrait
may be prepared in another thread meanwhile: both give their work to the device's default stream, which does
it in the order in which it came.
"""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from models.contract import Controls, Observation, Reenactor, map_code
from models.face_tracker import person_mask
from models.observation import observe
from models.portrait_face import portrait_face
from realtime.devices import lowered
from realtime.framing import Canvas, Framing

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
    stages_ms: dict[str, float]  # wall time of structure, transfer, decode, composite


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

    def calibrate(self) -> None:
        """Take a new neutral pose from the driver's next half second. Any thread may call it."""
        self._asked = True

    @property
    def calibrating(self) -> bool:
        """Is a calibration asked for, or under way?"""
        return self._asked or self._rest is not None

    def use_neutral(self, neutral: Any) -> None:
        """Set the neutral pose, a StructureCode of the driver, and end any calibration."""
        self.neutral, self._asked, self._rest, self._provisional = neutral, False, None, False


class Engine:
    """The path from an observation to a frame on the canvas, for one generator on one device.

    half: the type for what of the generator may be less precise than float32; None for nothing.
    """

    def __init__(
        self,
        generator: Reenactor[Any, Any],
        device: torch.device | str = "cpu",
        canvas: Canvas | None = None,
        clock: Callable[[], float] = time.perf_counter,
        half: torch.dtype | None = None,
    ) -> None:
        self.generator = generator.to(device).eval().requires_grad_(False)
        self.device = torch.device(device)
        self.canvas = canvas
        self.half = half
        self._clock = clock

    @torch.inference_mode()
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
        with self._lowered():
            appearance = self.generator.encode_appearance([self._upload(source) for source in sources])
        to_frame = sources[0].to_frame[0].numpy().astype(np.float64)
        framing = Framing(pictures[0], to_frame, rule.size, self.canvas, self.device)
        return Portrait(appearance, framing, tuple(warnings))

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

    @torch.inference_mode()
    def render(self, avatar: Avatar, observation: Observation, time_s: float) -> Rendered:
        """The avatar's frame for one observation (batch 1, on the CPU). time_s: the frame's time, which never
        runs backwards."""
        generator, portrait = self.generator, avatar.portrait
        if avatar._shown_for is not portrait:
            avatar._shown, avatar._shown_for, avatar._held = portrait.appearance.structure, portrait, None
        face = bool(observation.valid[0])
        marks = [self._clock()]
        if face:
            structure = self.encode(observation)
            self._calibrate(avatar, structure, time_s)
            marks.append(self._clock())
            structure = generator.transfer(structure, avatar.neutral, portrait.appearance, avatar.controls)
        else:
            marks.append(self._clock())
            structure = portrait.appearance.structure
        structure = self._eased(avatar, structure, face, time_s)
        avatar._shown = structure
        marks.append(self._clock())
        with self._lowered():
            rgb, alpha = generator.decode(portrait.appearance, structure)
        marks.append(self._clock())
        picture = portrait.framing.composite(rgb, alpha)
        marks.append(self._clock())
        names = ("structure", "transfer", "decode", "composite")
        stages_ms = {name: 1e3 * (b - a) for name, a, b in zip(names, marks, marks[1:], strict=False)}
        return Rendered(picture, face, stages_ms)

    def _calibrate(self, avatar: Avatar, structure: Any, time_s: float) -> None:
        """Collect the driver's rest. The very first neutral is the centre of what there is so far; a later
        one replaces the old one once its half second is over."""
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


@dataclass
class _Job:
    avatar: Avatar
    observation: Observation
    time_s: float
    future: "Future[Rendered]"


class EngineThread:
    """The one thread that renders. It takes the newest observation of each avatar, oldest request first."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._jobs: dict[int, _Job] = {}  # by avatar; a dict keeps the order of arrival
        self._ready = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)

    def start(self) -> None:
        self._thread.start()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive() and not self._stopping

    def submit(self, avatar: Avatar, observation: Observation, time_s: float) -> "Future[Rendered]":
        """Ask for a frame. A request of the same avatar that was still waiting is cancelled: the newest
        wins."""
        job = _Job(avatar, observation, time_s, Future())
        with self._ready:
            if self._stopping:
                raise RuntimeError("the engine has stopped")
            replaced = self._jobs.pop(id(avatar), None)
            self._jobs[id(avatar)] = job
            self._ready.notify()
        if replaced is not None:
            replaced.future.cancel()
        return job.future

    def stop(self) -> None:
        """Finish the frame in hand, cancel the rest, and end the thread."""
        with self._ready:
            self._stopping = True
            self._ready.notify()
        self._thread.join()
        for job in self._jobs.values():
            job.future.cancel()
        self._jobs.clear()

    def _run(self) -> None:
        while True:
            with self._ready:
                self._ready.wait_for(lambda: self._stopping or bool(self._jobs))
                if self._stopping:
                    return
                job = self._jobs.pop(next(iter(self._jobs)))
            self._render(job)
            del job  # or an ended session's avatar would stay until another asks for a frame

    def _render(self, job: _Job) -> None:
        if not job.future.set_running_or_notify_cancel():
            return
        try:
            job.future.set_result(self._engine.render(job.avatar, job.observation, job.time_s))
        except Exception as error:  # one bad frame must not end every session: its own session hears of it
            job.future.set_exception(error)
