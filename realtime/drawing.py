"""The way of a frame on the device: pure tensor functions of static shapes, for a batch of sessions, so that
they run as they stand or as one captured graph."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor

from models.contract import Controls, Observation, Reenactor, Spec, map_code
from models.observation import to_unit
from realtime.avatar import Cue
from realtime.colours import to_i420
from realtime.devices import lowered
from realtime.framing import laid_over

T = TypeVar("T", bound=tuple[Any, ...])


class Kept(NamedTuple):
    """What stays on the device from one frame of a session to the next (batch-first)."""

    appearance: Any  # its portrait's AppearanceCode
    neutral: Any  # its driver's StructureCode at rest
    controls: Controls
    shown: Any  # the last StructureCode that was decoded, in the source's terms
    held: Any  # the one that is eased from
    base: Tensor | None  # B×3×H×W, its canvas without the avatar; only for graphs, as the next
    grid: Tensor | None  # B×H×W×2, from the canvas to the crop; None where they are the same


class Seen(NamedTuple):
    """One frame of several sessions."""

    image: Tensor | None  # B×3×H×W levels (uint8); None where the network doesn't look at it
    points: Tensor | None  # B×478×3 in crop units; likewise
    to_frame: Tensor  # B×2×3
    valid: Tensor  # B bool: was a face seen
    first: Tensor  # B bool: it is all that is known of the driver's rest
    hold: Tensor  # B bool: what was shown last is eased from, from now on
    ease: Tensor  # B in [0, 1]: how far


class Ticket(NamedTuple):
    """What a graph takes."""

    slots: Tensor  # B: where in the memory of all sessions theirs is
    seen: Seen


class Out(NamedTuple):
    """What a graph gives to the host."""

    planes: Tensor  # B×(3H/2)×W uint8: the canvas as I420
    fit: Tensor  # B bool: all are numbers
    sane: Tensor  # B bool: the driver's code is, too


class Drivers(NamedTuple):
    """What of a graph stays on the device."""

    structure: Any  # StructureCode


class Drawing:
    """A generator's frames on a device. half: as the engine's."""

    def __init__(
        self, generator: Reenactor[Any, Any], device: torch.device, half: torch.dtype | None = None
    ) -> None:
        self.generator = generator
        self._device, self._half = device.type, half

    def encode(self, seen: Seen) -> Any:
        """The drivers' StructureCodes."""
        image = seen.image
        if image is None:  # of the right shape, in case it is asked for that
            size = self.generator.spec.driving.size
            image = seen.valid.new_zeros(1, 1, 1, 1, dtype=torch.uint8).expand(len(seen.valid), 3, size, size)
        driving = to_unit(Observation(image, seen.points, seen.to_frame, seen.valid))
        with lowered(self._device, self._half):
            return self.generator.encode_structure(driving)

    def move(self, kept: Kept, seen: Seen, structure: Any | None, easing: bool = True) -> tuple[Any, Any]:
        """What is shown, and what is eased from: the driver's motion in the source's terms, or the source's
        own pose without a face. easing: False where nobody eases."""
        target = kept.appearance.structure
        if structure is not None:
            neutral = choose(seen.first, structure, kept.neutral)
            moved = self.generator.transfer(structure, neutral, kept.appearance, kept.controls)
            target = choose(seen.valid, moved, target)
        if not easing:
            return target, kept.held
        held = choose(seen.hold, kept.shown, kept.held)
        return self.generator.blend(held, target, seen.ease), held

    def decode(self, kept: Kept, shown: Any) -> tuple[Tensor, Tensor]:
        """rgb B×3×h×w in [0, 1], the generator's square, and alpha B×1×h×w."""
        with lowered(self._device, self._half):
            rgb, alpha = self.generator.decode(kept.appearance, shown)
        return rgb.float(), alpha.float()

    def step(self, sessions: Kept) -> Callable[[Ticket], tuple[Out, Drivers]]:
        """The whole way, for a graph: from what was seen to the canvas in an encoder's colours, with all that
        is kept read from, and written to, the memory of all sessions."""

        def draw(ticket: Ticket) -> tuple[Out, Drivers]:
            slots, seen = ticket
            kept = map_code(lambda room: room.index_select(0, slots), sessions)
            structure = self.encode(seen)
            shown, held = self.move(kept, seen, structure)
            rgb, alpha = self.decode(kept, shown)
            fit = are_numbers((rgb, shown))
            for rooms, code in ((sessions.shown, choose(fit, shown, kept.shown)), (sessions.held, held)):
                map_code(lambda room, rows: room.index_copy_(0, slots, rows), rooms, code)
            assert kept.base is not None, "graphs draw on a canvas"
            planes = to_i420(laid_over(kept.base, kept.grid, rgb, alpha))
            return Out(planes, fit, are_numbers(structure)), Drivers(structure)

        return draw


def gather(
    rows: Sequence[tuple[Observation, Cue]], spec: Spec | None = None, into: Seen | None = None
) -> Seen:
    """What was seen of several sessions, each a batch of one, as one batch, on the host. spec: of the
    network, to leave out what it doesn't read. into: the memory for it, of as many rows or more."""

    def join(name: str) -> Tensor | None:
        parts = [getattr(seen, name) for seen, _ in rows]
        if parts[0] is None or (spec is not None and name in ("image", "points") and name not in spec.reads):
            return None
        room = None if into is None else getattr(into, name)
        if room is not None:
            return torch.cat(parts, out=room[: len(rows)])
        return parts[0] if len(rows) == 1 else torch.cat(parts)

    def note(name: str, values: list[Any]) -> Tensor:
        found = torch.tensor(values)
        return found if into is None else getattr(into, name)[: len(rows)].copy_(found)

    cues = [cue for _, cue in rows]
    to_frame = join("to_frame")
    assert to_frame is not None, "every observation has it"
    return Seen(
        image=join("image"),
        points=join("points"),
        to_frame=to_frame,
        valid=note("valid", [cue.face for cue in cues]),
        first=note("first", [cue.first for cue in cues]),
        hold=note("hold", [cue.hold for cue in cues]),
        ease=note("ease", [cue.ease for cue in cues]),
    )


def choose(which: Tensor, yes: T, no: T) -> T:
    """The rows of one code or of another. which: B bool."""
    return map_code(lambda a, b: torch.where(which.reshape(-1, *[1] * (a.ndim - 1)), a, b), yes, no)


def are_numbers(code: Any) -> Tensor:
    """B bool: has each row of a code, or of a tensor, neither NaN nor infinite numbers."""
    parts = [part for part in (code if isinstance(code, tuple) else (code,)) if part is not None]
    # One number that is none makes the sum none; to look at each of a picture takes 2.6 ms, the sum 0.1.
    found = [
        are_numbers(part) if isinstance(part, tuple) else part.reshape(len(part), -1).sum(1).isfinite()
        for part in parts
    ]
    return torch.stack(found).all(0)
