"""What a training loop gets: some frames of one clip, and batches of that."""

import dataclasses
from collections.abc import Callable, Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from models.describe import mean_face
from trainer.data.synthetic.anatomy import AT, EXPRESSIONS

UNKNOWN = 255  # the label of a pixel of which nobody says what it is

# Rec. 709, of red, green and blue.
LUMA = (0.2126, 0.7152, 0.0722)


class Sample(NamedTuple):
    """K frames of one clip; a batch has B before K, and lists of B in place of the names."""

    picture: Tensor  # K×3×H×W uint8, RGB
    points: Tensor  # K×478×3 in crop units, as in `Observation`; nought where not valid
    valid: Tensor  # K bool: are the points right
    labels: Tensor  # K×H×W uint8: 0 background, 1 skin, …; UNKNOWN throughout where there are none
    frames: Tensor  # K int64: which frames of the clip these are
    maps: dict[str, Tensor]  # flow K×2×H×W, depth K×1×H×W, normals K×3×H×W: those that were asked for
    parameters: dict[str, Tensor]  # K×…: those that were asked for
    clip: str | list[str]
    identity: str | list[str]


def collate(samples: Sequence[Sample]) -> Sample:
    """The samples as a batch. Raises RuntimeError where pictures differ in size."""
    first = samples[0]

    def stack(field: str) -> Tensor:
        return torch.stack([getattr(sample, field) for sample in samples])

    def stack_all(field: str) -> dict[str, Tensor]:
        return {
            name: torch.stack([getattr(sample, field)[name] for sample in samples])
            for name in getattr(first, field)
        }

    return Sample(
        picture=stack("picture"),
        points=stack("points"),
        valid=stack("valid"),
        labels=stack("labels"),
        frames=stack("frames"),
        maps=stack_all("maps"),
        parameters=stack_all("parameters"),
        clip=[str(sample.clip) for sample in samples],
        identity=[str(sample.identity) for sample in samples],
    )


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """What is done to a sample by chance, to all of its frames alike. Raises ValueError for a strength
    outside [0, 1)."""

    mirror: bool = False
    """Every other clip mirrored, with its landmarks, masks, maps and parameters."""
    colour: float = 0.0
    """Gain of each channel, contrast and saturation change by up to this factor; 0.1 to 0.3 are usual."""

    def __post_init__(self) -> None:
        if not 0 <= self.colour < 1:
            raise ValueError(f"colour {self.colour:g}: expected a number from 0 to below 1")

    def check(self, parameters: Sequence[str]) -> None:
        """Raises ValueError where samples with these parameters would be mirrored, and what one of them means
        in a mirror isn't known."""
        if self.mirror and (unknown := sorted(set(parameters) - MIRRORED.keys())):
            raise ValueError(
                f"samples with {unknown[0]} can't be mirrored: leave mirror or the parameter out (known in a "
                f"mirror: {', '.join(MIRRORED)})"
            )

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Raises ValueError as `check` does."""
        self.check(list(sample.parameters))
        if self.mirror and rng.random() < 0.5:
            sample = mirrored(sample)
        if self.colour > 0:
            amounts = 1 + rng.uniform(-self.colour, self.colour, 5)
            sample = sample._replace(picture=recoloured(sample.picture, *colouring(amounts)))
        return sample


@cache
def mirror_landmarks() -> Tensor:
    """Which of the 478 landmarks each of them is in a mirror: int64. From the mean face, which is its own
    mirror image."""
    points = mean_face()
    flipped = points * [-1, 1, 1] + [points[:, 0].min() + points[:, 0].max(), 0, 0]
    distance = np.linalg.norm(points[:, None] - flipped[None], axis=2)
    return torch.from_numpy(distance.argmin(1))


def mirrored(sample: Sample) -> Sample:
    """The sample as a mirror shows it. Raises KeyError for a parameter that isn't one of `MIRRORED`."""
    turned = _mirrored_points(sample.points)
    turned = turned + turned.new_tensor([1, 0, 0])
    seen = sample.valid[..., None, None]
    maps = {name: planes.flip(-1) for name, planes in sample.maps.items()}
    for name in ("flow", "normals"):  # their first component points to the right
        if name in maps:
            maps[name][..., 0, :, :].neg_()
    return sample._replace(
        picture=sample.picture.flip(-1),
        points=torch.where(seen, turned, sample.points),
        labels=sample.labels.flip(-1),
        maps=maps,
        parameters={name: MIRRORED[name](value) for name, value in sample.parameters.items()},
    )


def _signed(*signs: float) -> Callable[[Tensor], Tensor]:
    return lambda value: value * value.new_tensor(signs)


def _mirrored_points(points: Tensor) -> Tensor:
    """…×478×3, about x = 0."""
    swap = mirror_landmarks().to(points.device)
    return points[..., swap, :] * points.new_tensor([-1, 1, 1])


def _mirrored_expression(expression: Tensor) -> Tensor:
    """…×44: what was the left side's is the right one's."""
    sides = {"Left": "Right", "Right": "Left"}
    order = []
    for name in EXPRESSIONS:
        side = next((side for side in sides if name.endswith(side)), "")
        order.append(AT[name.removesuffix(side) + sides.get(side, "")])
    return expression[..., order]


def _same(value: Tensor) -> Tensor:
    return value


MIRRORED: dict[str, Callable[[Tensor], Tensor]] = {
    "expression": _mirrored_expression,
    "gaze": _signed(-1, 1),
    "rotation": _signed(-1, 1, -1),  # yaw, pitch, roll
    "shift": _signed(-1, 1),
    "camera_points": _mirrored_points,
    **dict.fromkeys(("scale", "fov", "skin_tone", "age", "hair_style", "hair_colour", "glasses"), _same),
    **dict.fromkeys(("motion", "motion_frame"), _same),
}
"""Parameter of a rendered clip → what it is in a mirror. A person's `shape` is not among them: it has modes
that change one side only."""


def colouring(amounts: np.ndarray[tuple[int], np.dtype[np.float64]]) -> tuple[Tensor, Tensor]:
    """The linear map (3×3) and the shift (3) of levels that change by these factors: gain of red, green and
    blue, contrast about the middle, saturation."""
    gain, contrast, saturation = amounts[:3], amounts[3], amounts[4]
    grey = np.tile(LUMA, (3, 1))
    matrix = contrast * np.diag(gain) @ (saturation * np.eye(3) + (1 - saturation) * grey)
    shift = np.full(3, 127.5 * (1 - contrast))
    return torch.from_numpy(matrix).float(), torch.from_numpy(shift).float()


def recoloured(picture: Tensor, matrix: Tensor, shift: Tensor) -> Tensor:
    """picture: …×3×H×W uint8."""
    levels = picture.flatten(-2).float()  # …×3×P
    changed = matrix.to(levels) @ levels + shift.to(levels)[:, None]
    return changed.round_().clamp_(0, 255).to(torch.uint8).view(picture.shape)
