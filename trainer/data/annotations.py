"""What data sets say of their faces: landmark files of iBUG, boxes of VoxCeleb, crops of VFHQ."""

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

# Of the videos that VoxCeleb's boxes were found in: frames a second; pixels.
BOXES_HZ, BOXES_HEIGHT = 25, 360


class Region(NamedTuple):
    """The part of the frame in which a clip's face is: a data set's own box, united over its frames."""

    left: float
    top: float
    right: float
    bottom: float
    height: float | None = None  # of the frame in whose pixels these are; None: they are shares of the sides


def read_pts(path: Path) -> npt.NDArray[np.float64]:
    """The points of a `.pts` file (300-W, 300-VW), K×2: pixels from the picture's edge, x right, y down.

    The file says `version: 1`, `n_points: 68`, and between braces x and y of a point a line, of which its
    authors' tool (Matlab) calls the first pixel's centre 1. Raises ValueError for anything else.
    """
    text = path.read_text("utf-8", errors="replace")
    head, brace, rest = text.partition("{")
    body, end, _ = rest.partition("}")
    pairs = (line.partition(":") for line in head.splitlines())
    words = {key.strip(): value.strip() for key, _, value in pairs}
    try:
        if not (brace and end):
            raise ValueError("no braces")
        if words.get("version") not in ("1", "1.0"):
            raise ValueError(f"version {words.get('version')!r}")
        points = np.array([line.split() for line in body.splitlines() if line.strip()], np.float64)
        if points.shape != (int(words.get("n_points", "0")), 2) or not np.isfinite(points).all():
            raise ValueError(f"n_points {words.get('n_points')!r}, but {len(points)} lines of points")
    except ValueError as error:
        raise ValueError(
            f"{path} is no landmark file ({error}): expected version: 1, n_points: N, and N lines of x and y "
            "in braces"
        ) from None
    return points - 0.5


def read_boxes(path: Path) -> tuple[Region, float, float]:
    """The union of a VoxCeleb face's boxes, and its first and last moment, seconds.

    After the head of the file and the line `FRAME X Y W H` comes one line a frame: its number at 25 a second,
    and the box, in pixels of a frame 360 high (VoxCeleb 1) or in shares of the sides (VoxCeleb 2). Raises
    ValueError for other files.
    """
    lines = [line.split() for line in path.read_text("utf-8", errors="replace").splitlines()]
    heads = [index for index, words in enumerate(lines) if words[:5] == ["FRAME", "X", "Y", "W", "H"]]
    try:
        rows = [[float(word) for word in words[:5]] for words in lines[heads[0] + 1 :] if words]
        numbers, x, y, width, height = (np.array(column) for column in zip(*rows, strict=True))
    except (IndexError, ValueError):
        raise ValueError(f"{path} holds no boxes: expected a line FRAME X Y W H and numbers below") from None
    right, bottom = float((x + width).max()), float((y + height).max())
    shares = max(right, bottom) <= 2
    region = Region(float(x.min()), float(y.min()), right, bottom, None if shares else BOXES_HEIGHT)
    return region, float(numbers.min()) / BOXES_HZ, (float(numbers.max()) + 1) / BOXES_HZ


def read_crop(path: Path) -> tuple[Region, float, float]:
    """Where in a whole video a clip of VFHQ is, and its first moment and its end, seconds.

    The file's name ends in `+FSTART-END`, numbers of frames of which neither belongs to the clip. Its lines
    `FPS`, `H` and `CROP` say frames a second, the height of the frames in pixels, and left, top, right and
    bottom of the crop. Raises ValueError for other files.
    """
    lines = [re.findall(r"[\w.-]+", line) for line in path.read_text("utf-8", errors="replace").splitlines()]
    words = {line[0]: line[1:] for line in lines if line}
    frames = re.search(r"\+F(\d+)-(\d+)", path.stem)
    try:
        fps, height = float(words["FPS"][-1]), float(words["H"][-1])
        left, top, right, bottom = (float(word) for word in words["CROP"][-4:])
        if frames is None or not (fps > 0 and height > 0 and left < right and top < bottom):
            raise ValueError
    except (LookupError, ValueError):
        raise ValueError(
            f"{path} is no clip's description: expected lines FPS, H and CROP, as VFHQ has them"
        ) from None
    start, end = int(frames[1]), int(frames[2])
    return Region(left, top, right, bottom, height), (start + 1) / fps, end / fps
