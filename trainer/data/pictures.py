"""Pictures, masks and maps as files, and back.

A picture is JPEG at quality 95 without subsampled colours, or PNG. A mask is a grey PNG of its labels. Maps
are PNG, each in the steps that its error allows:

    flow     16 bits: pixels × 64 + 32768, and whether there is any (the KITTI flow format); error ≤ 1/128 px
             within ±512 px
    depth    16 bits: hundredths of a centimetre, 0 where there is nothing; error ≤ 0.005 cm up to 655 cm
    normals  8 bits: each component × 127 + 128, 0 where there is none; error ≤ 0.4°

OpenCV does the work and lets go of the interpreter while it does.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

Format = Literal["jpg", "png"]
MapName = Literal["flow", "depth", "normals"]
Picture = npt.NDArray[np.uint8]  # H×W×3 RGB
Planes = npt.NDArray[np.float32]  # …×C×H×W

QUALITY = 95
FLOW_STEPS = 64  # a pixel
DEPTH_STEPS = 100  # a centimetre
ZERO = 1 << 15  # what stands for no flow
MOST = (1 << 16) - 1


class MapCodec(NamedTuple):
    """How maps of one kind are kept."""

    encode: Callable[[Planes], bytes]
    decode: Callable[[bytes], Planes]


def encode_picture(picture: Picture, form: Format) -> bytes:
    """picture: H×W×3 RGB."""
    import cv2

    how = []
    if form == "jpg":
        how = [cv2.IMWRITE_JPEG_QUALITY, QUALITY]
        how += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    return _encoded(f".{form}", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), how)


def decode_picture(data: bytes) -> npt.NDArray[np.uint8]:
    """3×H×W RGB. Raises ValueError for what is no picture."""
    import cv2

    found = _decoded(data, cv2.IMREAD_COLOR)
    planes = np.empty((3, *found.shape[:2]), np.uint8)
    cv2.split(cv2.cvtColor(found, cv2.COLOR_BGR2RGB), list(planes))
    return planes


def encode_labels(labels: npt.NDArray[np.uint8]) -> bytes:
    """labels: H×W."""
    return _encoded(".png", labels)


def decode_labels(data: bytes) -> npt.NDArray[np.uint8]:
    """H×W. Raises ValueError for what is no picture."""
    import cv2

    return np.asarray(_decoded(data, cv2.IMREAD_UNCHANGED), np.uint8)


def encode_flow(flow: Planes) -> bytes:
    """flow: 2×H×W pixels, NaN where nothing corresponds. Raises ValueError beyond ±512 pixels."""
    there = np.isfinite(flow).all(0)
    levels = _levels(np.where(there, flow, 0) * FLOW_STEPS + ZERO, 0, "flow beyond ±512 pixels")
    return _encoded(".png", np.dstack([there.astype(np.uint16), levels[1], levels[0]]))


def decode_flow(data: bytes) -> Planes:
    """2×H×W pixels, NaN where nothing corresponds."""
    import cv2

    there, down, right = _decoded(data, cv2.IMREAD_UNCHANGED).transpose(2, 0, 1)
    flow = (np.stack([right, down]).astype(np.float32) - ZERO) / FLOW_STEPS
    return np.where(there > 0, flow, np.float32(np.nan))


def encode_depth(depth: Planes) -> bytes:
    """depth: 1×H×W cm, infinite where there is nothing. Raises ValueError beyond 655 cm."""
    there = np.isfinite(depth[0])
    levels = _levels(np.where(there, depth[0], 1) * DEPTH_STEPS, 1, "depth outside 0.01 to 655.35 cm")
    return _encoded(".png", np.where(there, levels, np.uint16(0)))


def decode_depth(data: bytes) -> Planes:
    """1×H×W cm, infinite where there is nothing."""
    import cv2

    levels = _decoded(data, cv2.IMREAD_UNCHANGED)[None].astype(np.float32)
    return np.where(levels > 0, levels / DEPTH_STEPS, np.float32(np.inf))


def encode_normals(normals: Planes) -> bytes:
    """normals: 3×H×W of length 1; of length 0, or not finite, where there are none."""
    length = np.linalg.norm(normals, axis=0)
    there = np.isfinite(length) & (length > 0)
    levels = np.rint(np.where(there, normals, 0) * 127 + 128)
    return _encoded(".png", np.where(there, levels, 0).astype(np.uint8)[::-1].transpose(1, 2, 0).copy())


def decode_normals(data: bytes) -> Planes:
    """3×H×W of length 1, or 0 where there are none."""
    import cv2

    levels = _decoded(data, cv2.IMREAD_COLOR).transpose(2, 0, 1)[::-1]
    there = levels.any(0)
    normals = np.where(there, (levels.astype(np.float32) - 128) / 127, np.float32(0))
    return np.asarray(normals / np.maximum(np.linalg.norm(normals, axis=0), 1e-6), np.float32)


MAPS: dict[MapName, MapCodec] = {
    "flow": MapCodec(encode_flow, decode_flow),
    "depth": MapCodec(encode_depth, decode_depth),
    "normals": MapCodec(encode_normals, decode_normals),
}


def _levels(numbers: npt.NDArray[Any], least: int, reason: str) -> npt.NDArray[np.uint16]:
    rounded = np.rint(numbers)
    if rounded.min() < least or rounded.max() > MOST:
        raise ValueError(f"{reason}: it can't be kept")
    return np.asarray(rounded, np.uint16)


def _encoded(suffix: str, picture: npt.NDArray[Any], how: list[int] | None = None) -> bytes:
    import cv2

    done, data = cv2.imencode(suffix, picture, how or [])
    assert done
    return bytes(data)


def _decoded(data: bytes, flags: int) -> npt.NDArray[Any]:
    import cv2

    found = cv2.imdecode(np.frombuffer(data, np.uint8), flags) if data else None
    if found is None:
        raise ValueError("no picture, or not a whole one")
    return np.asarray(found)
