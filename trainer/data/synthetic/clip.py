"""A clip of one person, rendered: what data sets are made of."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from trainer.data.synthetic.motion import RANGES, Motion, draw_motion
from trainer.data.synthetic.people import CLIPS, Identity, draw_identity, draw_scene, make_people
from trainer.data.synthetic.renderer import Frame, render

# Frames that are drawn at once: on the CPU what stays in its caches, on a GPU what keeps it busy.
CPU_PIXELS, GPU_PIXELS = 16 * 128 * 128, 64 * 256 * 256


class Clip(NamedTuple):
    """F frames and the truth about them."""

    picture: Tensor  # F×3×S×S uint8, RGB
    points: Tensor  # F×478×3 in crop units
    labels: Tensor  # F×S×S uint8
    parameters: dict[str, Tensor]  # F×… what each frame shows, 1×… who it is, and what it is seen in
    maps: dict[str, Tensor]  # F×C×S×S


def render_clip(
    seed: int,
    identity: int,
    clip: int,
    frames: int,
    size: int,
    device: torch.device,
    style: str | None = None,
    maps: Sequence[str] = (),
) -> Clip:
    """Clip number `clip` of a person: always the same for the same numbers.

    style: of the motion (motion.py); None: one is drawn. maps: of renderer.MAPS. Raises ValueError for an
    unknown style or map.
    """
    motion = draw_motion(seed, [identity * CLIPS + clip], frames, style=style)
    return render_motion(seed, identity, clip, motion, size, device, maps, moving=style not in RANGES)


def render_motion(
    seed: int,
    identity: int,
    clip: int,
    motion: Motion,
    size: int,
    device: torch.device,
    maps: Sequence[str] = (),
    moving: bool = True,
) -> Clip:
    """A person who does what somebody else does: identity A with motion B is a picture, not a guess.

    motion: F frames. moving: they follow one another, and are blurred by it.
    """
    who = draw_identity(seed, [identity])
    people = make_people(who, size, device)
    scene = draw_scene(seed, [identity], size, clip, device)
    here = Motion(*(part.to(device) for part in motion))
    count = len(motion.scale)
    earlier = (torch.arange(count, device=device) - 1).clamp(min=0)
    drawn = []
    for part in _parts(count, size, device):
        number = torch.arange(count, device=device)[part]
        before = Motion(*(field[earlier[part]] for field in here)) if moving else None
        now = Motion(*(field[part] for field in here))
        found = render(people, scene, torch.zeros_like(number), now, size, maps, number, before)
        drawn.append(found._replace(picture=found.picture.mul(255).round_().to(torch.uint8)))
    whole = Frame(*(None if column[0] is None else torch.cat(column) for column in zip(*drawn, strict=True)))  # type: ignore[arg-type]
    chosen = {name: getattr(whole, name) for name in maps}
    return Clip(whole.picture, whole.points, whole.labels, parameters(who, here, whole), chosen)


def parameters(who: Identity, motion: Motion, frame: Frame) -> dict[str, Tensor]:
    """What a clip's truth says in numbers."""
    return {
        "expression": motion.expression,
        "gaze": motion.gaze,
        "rotation": motion.rotation,
        "shift": motion.shift,
        "scale": motion.scale,
        "fov": motion.fov,
        "camera_points": frame.camera_points,
        "shape": who.shape.coefficients,
        "skin_tone": who.skin.tone,
        "age": who.skin.age,
        "hair_style": who.hair.style,
        "hair_colour": who.hair.colour,
        "glasses": who.glasses.worn,
    }


def _parts(count: int, size: int, device: torch.device) -> Iterator[slice]:
    room = GPU_PIXELS if device.type == "cuda" else CPU_PIXELS
    step = max(1, room // (size * size))
    for first in range(0, count, step):
        yield slice(first, min(first + step, count))
