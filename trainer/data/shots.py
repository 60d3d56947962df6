"""Shots of a clip: what was seen of a face in each frame, where one shot ends, and the steady square that
cuts its frames out."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from models.face_tracker import Box, FaceDetector, FaceTracker, Picture, box_of, settled_points
from trainer.data.annotations import Region
from trainer.data.decoding import Moment

LOOK_EVERY = 10  # frames between two looks for other faces
THUMBNAIL = 32  # pixels a side: pictures are compared at this size
SURROUNDINGS = 3.0  # side of where they are looked for / side of the face
FACE = 128  # pixels a side: faces are brought to this size before their sharpness is measured
JUMP = 0.3  # × the face: landmarks that move further from one frame to the next are another shot's
CHANGE = 0.06  # mean difference of two frames' levels, in [0, 1]: more is a cut, if it is also …
CHANGE_TIMES = 5  # … so many times the usual one of the shot
AROUND = 2.0  # side of what is searched / longer side of a data set's own box
SIDE = 2.0  # side of the square / median of the face's height (rendered faces have the same)
ROOM = 1.2  # least side of the square / longer side of the box that all of the shot's landmarks are in
RISE = 0.05  # × the side: how far the square's centre lies above the landmarks', for the hair

Points = npt.NDArray[np.float32]  # 478×3, pixels of the frame; z in the scale of x


class Seen(NamedTuple):
    """What was seen in one frame."""

    number: int  # of the frame in its file
    size: tuple[int, int]  # width, height of the frame
    points: Points | None
    change: float  # mean difference to the frame before, levels in [0, 1]
    sharpness: float  # variance of the face's Laplacian, levels in [0, 255], at FACE pixels
    light: float  # mean level of the face, [0, 1]
    others: tuple[Box, ...] | None  # faces besides; None where nobody looked


class Square(NamedTuple):
    """Where a frame is cut out, whole pixels; it may reach beyond the frame."""

    x: int
    y: int
    side: int


def look(moments: Iterator[Moment], region: Region | None = None, series: bool = False) -> Iterator[Seen]:
    """What is to be seen in each frame. region: where the face is, if that is known. series: the frames
    are single shots, each of which is looked at until the landmarks have settled."""
    with FaceTracker() as tracker, FaceDetector() as detector:
        before = None
        for count, moment in enumerate(moments):
            picture = moment.picture
            height, width = picture.shape[:2]
            rows, columns = _part(region, width, height)
            part = np.ascontiguousarray(picture[rows, columns])
            found = settled_points(part, tracker) if series else tracker.track(part)
            thumbnail = _small(part, THUMBNAIL)
            change = 0.0 if before is None or series else float(np.abs(thumbnail - before).mean() / 255)
            before = thumbnail
            if found is None:
                yield Seen(moment.number, (width, height), None, change, 0.0, 0.0, None)
                continue
            others = None
            if series or count % LOOK_EVERY == 0:
                others = tuple(
                    box._replace(x=box.x + columns.start, y=box.y + rows.start)
                    for box in _faces_beside(part, box_of(found), detector)
                )
            sharpness, light = _face_figures(part, box_of(found))
            points = (found + (columns.start, rows.start, 0)).astype(np.float32)
            yield Seen(moment.number, (width, height), points, change, sharpness, light, others)


def split(seen: Sequence[Seen], most: int) -> list[slice]:
    """The shots: runs of frames with a face, ended by a frame without, by a cut, or after `most` frames."""
    runs: list[slice] = []
    start = None
    for index, one in enumerate(seen):
        if start is not None and (
            one.points is None or index - start == most or _is_cut(seen[start : index + 1])
        ):
            runs.append(slice(start, index))
            start = None
        if start is None and one.points is not None:
            start = index
    if start is not None:
        runs.append(slice(start, len(seen)))
    return runs


def square_of(shot: Sequence[Seen]) -> Square:
    """One square for all frames of a shot, so that the head moves in the picture as it moved before the
    camera.

    Its side is SIDE times the median height of the landmarks' box, but at least ROOM times the longer side of
    the box of all landmarks of the shot. Its centre is that box's, RISE higher. It is kept inside the frame
    where it can be: first it shrinks to the frame's shorter side, not below the least, then it is moved.
    """
    points = np.stack([one.points for one in shot if one.points is not None])[..., :2]
    low, high = points.min((0, 1)), points.max((0, 1))
    least = ROOM * float((high - low).max())
    wanted = max(SIDE * float(np.median(np.ptp(points[..., 1], axis=1))), least)
    frame = np.array(shot[0].size)
    side = max(round(min(wanted, float(frame.min()))), round(least), 1)
    corner = np.round((low + high) / 2 - (side / 2, side / 2 + RISE * side)).astype(int)
    inside = np.clip(corner, 0, np.maximum(frame - side, 0))
    x, y = np.where(side <= frame, inside, corner)
    return Square(int(x), int(y), int(side))


def cut_out(picture: Picture, square: Square, size: int) -> Picture:
    """The square, size×size. The frame's border is repeated outside."""
    import cv2

    height, width = picture.shape[:2]
    x, y, side = square
    inner = picture[max(y, 0) : min(y + side, height), max(x, 0) : min(x + side, width)]
    top, left = max(-y, 0), max(-x, 0)
    bottom, right = max(y + side - height, 0), max(x + side - width, 0)
    if top or left or bottom or right:
        inner = np.pad(inner, ((top, bottom), (left, right), (0, 0)), mode="edge")
    method = cv2.INTER_AREA if size <= side else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(inner, (size, size), interpolation=method), np.uint8)


def in_square(points: Points, square: Square) -> Points:
    """Landmarks (…×478×3, pixels of the frame) in crop units: x, y in [0, 1], z in the scale of x."""
    moved = (points - np.array([square.x, square.y, 0])) / square.side
    return np.asarray(moved, np.float32)


def _is_cut(run: Sequence[Seen]) -> bool:
    """Does the last of these frames belong to another shot?"""
    before, last = run[-2].points, run[-1].points
    assert before is not None
    assert last is not None
    step = np.linalg.norm((last - before)[:, :2], axis=1).mean()
    if step > JUMP * float(np.ptp(before[:, :2], axis=0).max()):
        return True
    usual = float(np.median([one.change for one in run[1:-1]])) if len(run) > 2 else 0.0
    return run[-1].change > max(CHANGE, CHANGE_TIMES * usual)


def _part(region: Region | None, width: int, height: int) -> tuple[slice, slice]:
    """Rows and columns in which the face is searched."""
    if region is None:
        return slice(0, height), slice(0, width)
    left, top, right, bottom, high = region
    across, down = (width, height) if high is None else (height / high, height / high)
    box = Box(left * across, top * down, (right - left) * across, (bottom - top) * down)
    return box.grown(AROUND, width, height)


def _faces_beside(picture: Picture, mine: Box, detector: FaceDetector) -> Iterator[Box]:
    """Other faces around one, of which the square may show something. Small ones in large pictures would
    escape the detector, did it look at the whole."""
    height, width = picture.shape[:2]
    rows, columns = mine.grown(SURROUNDINGS, width, height)
    for box in detector.detect(np.ascontiguousarray(picture[rows, columns])):
        placed = box._replace(x=box.x + columns.start, y=box.y + rows.start)
        if not placed.overlaps(mine):
            yield placed


def _small(picture: Picture, side: int) -> npt.NDArray[np.float32]:
    """Its levels, side×side."""
    import cv2

    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    return np.asarray(cv2.resize(grey, (side, side), interpolation=cv2.INTER_AREA), np.float32)


def _face_figures(picture: Picture, box: Box) -> tuple[float, float]:
    """Sharpness and light of the face."""
    import cv2

    height, width = picture.shape[:2]
    face = picture[box.grown(1.0, width, height)]
    if 0 in face.shape:
        return 0.0, 0.0
    grey = _small(face, FACE)
    return float(cv2.Laplacian(grey, cv2.CV_32F).var()), float(grey.mean() / 255)
