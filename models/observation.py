"""From a picture and its landmarks to what a generator reads: the crop by its rule."""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from models.contract import LANDMARKS, CropRule, Observation
from models.face_geometry import crop_to_frame, scale_of, to_crop_units

Picture = npt.NDArray[np.uint8]  # H×W×3 RGB


def observe(
    picture: Picture,
    points: npt.NDArray[np.floating[Any]] | None,
    rule: CropRule,
    person: npt.NDArray[np.float32] | None = None,
    to_frame: npt.NDArray[np.float64] | None = None,
) -> Observation:
    """One picture as a generator wants to see it (batch 1, on the CPU), as levels.

    points: 478×3, its landmarks in pixels; None where no face was seen: the observation is then not
    `valid`, and holds the whole picture. person: H×W mask, for source pictures. to_frame: 2×3, crop units →
    pixels, where the crop lies otherwise than the rule has it from these points.
    """
    height, width = picture.shape[:2]
    if points is None:
        to_frame = np.array([[width, 0, 0], [0, height, 0]], np.float64)
        crop_points = np.zeros((LANDMARKS, 3))
    else:
        if to_frame is None:
            to_frame = crop_to_frame(points, rule, width, height)
        crop_points = to_crop_units(points, to_frame)
    image = torch.from_numpy(_planes(_cut(picture, to_frame, rule.size)))[None]
    mask = None if person is None else torch.from_numpy(_cut(person, to_frame, rule.size))[None, None]
    return Observation(
        image=image,
        points=torch.from_numpy(crop_points.astype(np.float32))[None],
        to_frame=torch.from_numpy(to_frame.astype(np.float32))[None],
        valid=torch.tensor([points is not None]),
        person=mask,
    )


def to_unit(seen: Observation) -> Observation:
    """With the picture in [0, 1], as networks take it. Levels are a quarter of the bytes: a picture becomes
    numbers only where the network is."""
    if seen.image.dtype != torch.uint8:
        return seen
    return seen._replace(image=seen.image.float().div_(255))


def to_levels(seen: Observation) -> Observation:
    """With the picture as levels, rounded."""
    if seen.image.dtype == torch.uint8:
        return seen
    return seen._replace(image=seen.image.mul(255).round_().to(torch.uint8))


def _cut(picture: npt.NDArray[Any], to_frame: npt.NDArray[np.float64], size: int) -> npt.NDArray[Any]:
    """The size×size crop of a picture; its border is repeated outside."""
    import cv2

    per_pixel = to_frame @ np.diag([1 / size, 1 / size, 1.0])  # crop pixels → picture pixels
    scale = scale_of(per_pixel)
    if scale >= 2:  # shrink first, or fine texture turns into noise
        picture, per_pixel = _shrunk(picture, per_pixel, size, scale)
    # cv2 counts from pixel centres; ours counts from pixel edges
    matrix = per_pixel.copy()
    matrix[:, 2] += per_pixel[:, :2] @ [0.5, 0.5] - 0.5
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(
        cv2.warpAffine(picture, matrix, (size, size), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    )


def _planes(picture: Picture) -> npt.NDArray[np.uint8]:
    """H×W×3 as 3×H×W: torch's sampling and pooling are several times slower on interleaved pictures."""
    import cv2

    planes = np.empty((3, *picture.shape[:2]), np.uint8)
    cv2.split(picture, list(planes))
    return planes


def _shrunk(
    picture: npt.NDArray[Any], per_pixel: npt.NDArray[np.float64], size: int, scale: float
) -> tuple[npt.NDArray[Any], npt.NDArray[np.float64]]:
    """The part of the picture that the crop needs, at the crop's resolution, and the map to its pixels."""
    import cv2

    corners = per_pixel @ np.array([[0, size, size, 0], [0, 0, size, size], [1, 1, 1, 1]])
    whole = picture.shape[1], picture.shape[0]
    low = np.clip(np.floor(corners.min(1) - scale), 0, np.array(whole) - 1).astype(int)
    high = np.clip(np.ceil(corners.max(1) + scale), low + 1, whole).astype(int)
    part = picture[low[1] : high[1], low[0] : high[0]]
    width, height = np.maximum(np.round((high - low) / scale), 1).astype(int)
    smaller = cv2.resize(part, (int(width), int(height)), interpolation=cv2.INTER_AREA)
    moved = per_pixel - np.column_stack([np.zeros((2, 2)), low])
    return np.asarray(smaller), np.diag([width, height] / (high - low)) @ moved
