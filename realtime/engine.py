"""The engine: portraits prepared once, then one driving frame after another turned into the avatar's frame.

`Engine` is the whole path without threads or time of its own, so that the offline tool and the server
(`realtime/engine_thread.py`) share it. A portrait may be prepared in another thread than the one that
renders: both give their work to the device's default stream, which does it in the order in which it came.
"""

import logging
import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from models.contract import Observation, Reenactor, T, map_code
from models.describe import example
from models.face_tracker import person_mask
from models.observation import observe, to_levels, to_unit
from models.portrait_face import portrait_face
from realtime.avatar import Avatar, Cue, Picture, Portrait
from realtime.devices import lowered, put_channels_last
from realtime.drawing import Drawing, Drivers, Kept, Out, Ticket, are_numbers, choose, gather
from realtime.framing import Canvas, Framing, NotFinite
from realtime.ladder import Flight, Ladder
from realtime.slots import Slots

log = logging.getLogger(__name__)


class Rendered(NamedTuple):
    """One frame of an avatar."""

    picture: Picture  # the canvas: H×W×3 RGB, or, from a graph, its I420 planes, (3H/2)×W
    face: bool  # False: the driver's face was lost and the pose is held or eased
    stages_ms: dict[str, float]
    """Wall time of structure, transfer, decode and composite, or of the graph; of all that were together."""
    batch: int = 1  # how many sessions were drawn together


class Request(NamedTuple):
    """What a frame is to be made of: one observation (batch 1, on the CPU), and its time, which never runs
    backwards for the same avatar."""

    avatar: Avatar
    observation: Observation
    time_s: float


class _Row(NamedTuple):
    """A request in a batch."""

    request: Request
    portrait: Portrait  # the one that is drawn; by the end the avatar may have been given another
    slot: int
    cue: Cue

    @property
    def rests(self) -> bool:
        """Is its driver to be looked at for a calibration?"""
        return self.cue.face and self.request.avatar.calibrating


class Begun(NamedTuple):
    """Frames whose drawing has begun."""

    rows: list[_Row]  # in the order of their slots: their codes lie next to each other, and need no copies
    order: list[int]  # where in `rows` each request is
    started: float
    flight: "Flight[Out, Drivers] | None" = None
    codes: Mapping[int, Any] = MappingProxyType({})  # StructureCodes of rows whose drivers are calibrated
    drawn: "tuple[Rendered | Exception, ...]" = ()  # where no graph draws, each row's frame

    @property
    def over(self) -> bool:
        """Is it drawn?"""
        return self.flight is None


class Engine:
    """The path from an observation to a frame on the canvas, for one generator on one device.

    half: the type for what of the generator may be less precise than float32; None for nothing.
    slots: for how many avatars at once memory is taken when the first of them appears.
    buckets: sizes of batches that `capture` makes graphs for, where the device has any; they need a canvas.
    cuda: what records them; by default `torch.cuda` on such a device.
    """

    def __init__(
        self,
        generator: Reenactor[Any, Any],
        device: torch.device | str = "cpu",
        canvas: Canvas | None = None,
        clock: Callable[[], float] = time.perf_counter,
        half: torch.dtype | None = None,
        slots: int = 1,
        buckets: Sequence[int] = (),
        cuda: Any = None,
    ) -> None:
        self.generator = generator.to(device).eval().requires_grad_(False)
        self.device = torch.device(device)
        self.canvas = canvas
        self.half = half
        self._cuda = torch.cuda if cuda is None and self.device.type == "cuda" else cuda
        self._buckets = tuple(buckets) if canvas is not None and self._cuda is not None else ()
        if half is not None:
            put_channels_last(self.generator)
        self._drawing = Drawing(self.generator, self.device, half)
        self._count = slots
        self._slots: Slots[Kept] | None = None
        self._ladder: Ladder[Ticket, Out, Drivers] | None = None
        self._captured: Kept | None = None  # the memory that the graphs read
        self._lock = threading.Lock()  # one batch is started, or recorded, at a time
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
        with lowered(self.device.type, self.half):
            appearance = self.generator.encode_appearance([self._uploaded(source) for source in sources])
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
        with lowered(self.device.type, self.half):
            return self.generator.encode_structure(self._uploaded(observation))

    @property
    def captured(self) -> tuple[int, ...]:
        """Sizes of the batches that graphs draw; none where there are no graphs."""
        return () if self._ladder is None else self._ladder.sizes

    @torch.inference_mode()
    def capture(self, portrait: Portrait) -> None:
        """Make the graphs, where the device has any. It takes seconds, and the first frame needs them made.
        portrait: any. The log is told of sizes that the memory does not reach for, and of a device that can't
        at all: it then draws without."""
        if not self._buckets:
            return
        sessions = self._places(portrait)
        with self._lock:
            self._record(sessions)

    def render(self, avatar: Avatar, observation: Observation, time_s: float) -> Rendered:
        """The avatar's frame for one observation (batch 1, on the CPU). time_s: the frame's time, which never
        runs backwards. Raises as `draw`."""
        return self.draw([Request(avatar, observation, time_s)])[0]

    def draw(self, requests: Sequence[Request]) -> list[Rendered]:
        """One frame of each of several avatars, in the order of the requests. Raises what went wrong with the
        first that could not be drawn, NotFinite where a network gave what is no number."""
        frames = []
        for found in self.finish(self.begin(requests)):
            if isinstance(found, Exception):
                raise found
            frames.append(found)
        return frames

    @torch.inference_mode()
    def begin(self, requests: Sequence[Request]) -> Begun:
        """Have one frame of each of several avatars drawn. With graphs this returns before they are; of two
        batches that have begun, the first is finished before the third begins."""
        rows = []
        for request in requests:
            slot, portrait = self._settle(request.avatar)
            cue = request.avatar.cue(bool(request.observation.valid[0]), request.time_s)
            rows.append(_Row(request, portrait, slot, cue))
        order = sorted(range(len(rows)), key=lambda index: rows[index].slot)
        batch = Begun([rows[index] for index in order], order, self._clock())
        with self._lock:
            if self._ladder is not None and len(rows) <= self._ladder.most:
                try:
                    return self._started(batch)
                except RuntimeError as error:
                    _tell(error)
        return batch._replace(drawn=tuple(self._drawn(batch.rows)))

    @torch.inference_mode()
    def finish(self, batch: Begun) -> list[Rendered | Exception]:
        """The frames of a batch in the order of its requests: each drawn, or why it was not, NotFinite where
        a network gave what is no number. What was shown before such a frame is then still what is held."""
        drawn = self._landed(batch)
        found: list[Rendered | Exception] = list(drawn)
        for place, one in zip(batch.order, drawn, strict=True):
            found[place] = one
        return found

    def _places(self, portrait: Portrait) -> Slots[Kept]:
        """The memory for all sessions. It is taken when the first portrait tells what a code is."""
        if self._slots is None:
            own, controls = portrait.appearance.structure, Avatar(portrait).controls
            controls = map_code(lambda one: one.to(self.device), controls)
            like = Kept(portrait.appearance, own, controls, own, own, *self._canvas_of(portrait))
            self._slots = Slots(like, self._count)
        return self._slots

    def _canvas_of(self, portrait: Portrait) -> tuple[Tensor | None, Tensor | None]:
        framing = portrait.framing
        return (framing.base, framing.grid) if self._buckets else (None, None)

    def _settle(self, avatar: Avatar) -> tuple[int, Portrait]:
        """The avatar's slot, with all that belongs there, and the portrait that it has there."""
        portrait, neutral, controls = avatar.portrait, avatar.neutral, avatar.controls
        slots = self._places(portrait)
        if avatar._slot is None:
            avatar._slot = slots.take()
            avatar._leave = weakref.finalize(avatar, slots.free, avatar._slot)
        place, there = [avatar._slot], avatar._there or (None, None, None)
        if there[0] is not portrait:
            own = portrait.appearance.structure
            base, grid = self._canvas_of(portrait)
            slots.write(place, appearance=portrait.appearance, shown=own, held=own, base=base, grid=grid)
            avatar.forget_pose()
        if neutral is not None and there[1] is not neutral:
            slots.write(place, neutral=neutral)
        if there[2] is not controls:
            slots.write(place, controls=controls)
        avatar._there = (portrait, neutral, controls)
        return avatar._slot, portrait

    def _record(self, sessions: Slots[Kept]) -> None:
        face = to_levels(example(self.generator.spec.driving))
        pad = gather([(face, Cue(face=False, first=False, hold=False, ease=1.0))], self.generator.spec)

        def blank(size: int) -> Ticket:
            place = torch.tensor([sessions.spare])
            return map_code(
                lambda one: one.repeat(size, *[1] * (one.ndim - 1)).to(self.device), Ticket(place, pad)
            )

        if self._ladder is not None:
            self._cuda.synchronize()  # until nothing runs of what goes now, and gives its memory back
            self._ladder = None
        self._captured = sessions.codes
        try:
            ladder = Ladder(self._drawing.step(sessions.codes), blank, self._buckets, self._cuda)
        except RuntimeError as error:
            log.warning("frames are drawn without graphs, which takes longer: %s", _first_line(error))
        else:
            self._ladder = ladder if ladder.sizes else None

    def _started(self, batch: Begun) -> Begun:
        """The batch as a graph draws it."""
        sessions = self._slots
        assert sessions is not None, "every row has settled"
        if self._captured is not sessions.codes:  # there are more of them than was reckoned with
            self._record(sessions)
        ladder = self._ladder
        if ladder is None or len(batch.rows) > ladder.most:
            return batch._replace(drawn=tuple(self._drawn(batch.rows)))

        def write(ticket: Ticket) -> None:
            ticket.slots[: len(batch.rows)] = torch.tensor([row.slot for row in batch.rows])
            seen = [(row.request.observation, row.cue) for row in batch.rows]
            gather(seen, self.generator.spec, ticket.seen)

        flight = ladder.start(len(batch.rows), write)
        # Copies: the next batch but one may be drawn where these are.
        codes = {
            index: map_code(torch.clone, _row_of(flight.kept.structure, index))
            for index, row in enumerate(batch.rows)
            if row.rests
        }
        return batch._replace(flight=flight, codes=codes)

    def _landed(self, batch: Begun) -> Sequence[Rendered | Exception]:
        """Each row's frame."""
        if batch.flight is None:
            return batch.drawn
        try:
            batch.flight.wait()
        except RuntimeError as error:
            _tell(error)
            return self._drawn(batch.rows)
        out = batch.flight.out
        fit, sane = out.fit.tolist(), out.sane.tolist()
        for index, code in batch.codes.items():
            if sane[index]:
                self._rest(batch.rows[index], code)
        pictures = out.planes.numpy()
        stages_ms = {"graph": 1e3 * (self._clock() - batch.started)}
        return [
            Rendered(pictures[index].copy(), row.cue.face, stages_ms, len(batch.rows))
            if fit[index]
            else NotFinite()
            for index, row in enumerate(batch.rows)
        ]

    def _drawn(self, rows: Sequence[_Row]) -> list[Rendered | Exception]:
        """Each row's frame, without graphs: together, or, where that fails, one by one, since one bad frame
        must not cost the others theirs."""
        try:
            return self._together(rows)
        except Exception as error:
            if len(rows) == 1:
                return [error]
            return [self._drawn([row])[0] for row in rows]

    def _together(self, rows: Sequence[_Row]) -> list[Rendered | Exception]:
        sessions, drawing, places = self._slots, self._drawing, [row.slot for row in rows]
        assert sessions is not None, "every row has settled"
        marks = [self._clock()]
        kept = sessions.read(places)
        seen = gather([(row.request.observation, row.cue) for row in rows])
        seen = map_code(lambda one: one.to(self.device, non_blocking=True), seen)
        structure = drawing.encode(seen) if any(row.cue.face for row in rows) else None
        marks.append(self._clock())
        easing = any(row.cue.ease < 1 for row in rows)
        shown, held = drawing.move(kept, seen, structure, easing)
        marks.append(self._clock())
        rgb, alpha = drawing.decode(kept, shown)
        marks.append(self._clock())
        frames: list[Rendered | Exception] = []
        for index, (row, is_fit) in enumerate(zip(rows, are_numbers(shown).tolist(), strict=True)):
            try:
                if not is_fit:
                    raise NotFinite
                picture = row.portrait.framing.composite(rgb[index : index + 1], alpha[index : index + 1])
                frames.append(Rendered(picture, row.cue.face, {}, len(rows)))
            except NotFinite as error:
                frames.append(error)
        marks.append(self._clock())
        fit = torch.tensor([isinstance(frame, Rendered) for frame in frames], device=self.device)
        sessions.write(places, shown=choose(fit, shown, kept.shown))
        if easing:
            sessions.write(places, held=held)
        if structure is not None and any(row.rests for row in rows):
            for index, (row, sane) in enumerate(zip(rows, are_numbers(structure).tolist(), strict=True)):
                if row.rests and sane:
                    self._rest(row, _row_of(structure, index))
        names = ("structure", "transfer", "decode", "composite")
        stages_ms = {name: 1e3 * (b - a) for name, a, b in zip(names, marks, marks[1:], strict=False)}
        return [
            frame._replace(stages_ms=stages_ms) if isinstance(frame, Rendered) else frame for frame in frames
        ]

    def _rest(self, row: _Row, code: Any) -> None:
        row.request.avatar.rest(code, row.request.time_s, self.generator.neutral)

    def _uploaded(self, observation: Observation) -> Observation:
        there = map_code(lambda tensor: tensor.to(self.device, non_blocking=True), observation)
        return to_unit(there)


def _row_of(codes: T, index: int) -> T:
    """One of a batch, as a batch of one."""
    return map_code(lambda tensor: tensor[index : index + 1], codes)


def _tell(error: RuntimeError) -> None:
    log.warning("a graph failed, and its frames are drawn once more without: %s", _first_line(error))


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
