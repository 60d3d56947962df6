"""The face of a source picture: found wherever it is and however small, or refused with advice."""

from typing import NamedTuple

import numpy as np

from models.face_geometry import EYE_LEFT, EYE_RIGHT
from models.face_tracker import Box, FaceDetector, FaceTracker, Picture, Points, box_of, settled_points

LEAST_SIDE = 32  # of a face's box, pixels: landmarks of smaller ones are guesses
SMALL_SIDE = 100  # below this the avatar looks soft
TILES = 3  # a side: the last search looks at overlapping tiles, each 2 / (TILES + 1) of the picture's side
CROP = 2.2  # side of what the mesh is shown / side of the face's box
LEAST_CROP = 256  # pixels: smaller crops are enlarged
MOST_ROLL = 60  # degrees between the line of the eyes and level
TURNED = 0.09  # by how much the detector must like a turned picture better to call the picture turned

_SIDEWAYS = "the face in the source picture lies on its side or upside down: turn the picture upright"


class PortraitFace(NamedTuple):
    """The face of a source picture."""

    points: Points
    warnings: tuple[str, ...]  # what the picture's owner should know, one sentence each


def portrait_face(picture: Picture) -> PortraitFace:
    """The largest face of a portrait. Raises ValueError, in words for its owner, where none is of use."""
    faces = find_faces(picture)
    if not faces:
        if _any_face_when_turned(picture):
            raise ValueError(_SIDEWAYS)
        raise ValueError(
            "no face found in the source picture: use one with a face that is upright, well lit and seen "
            "from the front"
        )
    points = faces[0]
    side = box_of(points).side
    if side < LEAST_SIDE:
        raise ValueError(
            f"the face in the source picture is only {side:.0f} pixels high: "
            f"use a picture in which it has at least {SMALL_SIDE}"
        )
    if _roll(points) > MOST_ROLL or _is_turned(picture, box_of(points)):
        raise ValueError(_SIDEWAYS)
    warnings = []
    if len(faces) > 1:
        warnings.append(
            f"there are {len(faces)} faces in the source picture: the largest is taken; "
            "crop the picture to the one you want"
        )
    if side < SMALL_SIDE:
        warnings.append(
            f"the face in the source picture is only {side:.0f} pixels high: the avatar will look soft; "
            f"a picture in which it has at least {SMALL_SIDE} would be better"
        )
    return PortraitFace(points, tuple(warnings))


def find_faces(picture: Picture) -> list[Points]:
    """The landmarks of a still's faces, largest first."""
    found: list[Points] = []
    for box in find_boxes(picture):
        points = _landmarks(picture, box)
        if points is not None and not any(box_of(points).overlaps(box_of(other)) for other in found):
            found.append(points)
    return sorted(found, key=lambda points: -box_of(points).area)


def find_boxes(picture: Picture) -> list[Box]:
    """The boxes of a still's faces, surest first. Its parts are searched where the whole shows none."""
    with FaceDetector() as near, FaceDetector(far=True) as far:
        boxes = near.detect(picture) + far.detect(picture) or _search_tiles(picture, far)
    kept: list[Box] = []
    for box in sorted(boxes, key=lambda box: -box.score):
        if not any(box.overlaps(other) for other in kept):
            kept.append(box)
    return kept


def _search_tiles(picture: Picture, detector: FaceDetector) -> list[Box]:
    """Boxes from overlapping tiles; a face may be in several."""
    height, width = picture.shape[:2]
    tile_width, tile_height = 2 * width // (TILES + 1), 2 * height // (TILES + 1)
    found = []
    for row in range(TILES):
        for column in range(TILES):
            x, y = column * tile_width // 2, row * tile_height // 2
            tile = np.ascontiguousarray(picture[y : y + tile_height, x : x + tile_width])
            found += [box._replace(x=box.x + x, y=box.y + y) for box in detector.detect(tile)]
    return found


def _landmarks(picture: Picture, box: Box) -> Points | None:
    """Landmarks found in a crop around the box, so that the face is large in what the mesh is shown."""
    import cv2

    height, width = picture.shape[:2]
    rows, columns = box.grown(CROP, width, height)
    crop = np.ascontiguousarray(picture[rows, columns])
    scale = max(1.0, LEAST_CROP / max(crop.shape[:2]))
    if scale > 1:
        crop = np.asarray(cv2.resize(crop, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC), np.uint8)
    with FaceTracker() as tracker:
        points = settled_points(crop, tracker)
    if points is None:
        return None
    ratio = np.array(
        [(columns.stop - columns.start) / crop.shape[1], (rows.stop - rows.start) / crop.shape[0]]
    )
    return np.asarray(points * (ratio[0], ratio[1], ratio[0]) + (columns.start, rows.start, 0))


def _roll(points: Points) -> float:
    """Degrees between the line through the eyes and level, without sign."""
    along = points[list(EYE_RIGHT), :2].mean(0) - points[list(EYE_LEFT), :2].mean(0)
    return float(abs(np.degrees(np.arctan2(along[1], along[0]))))


def _is_turned(picture: Picture, box: Box) -> bool:
    """Does the detector see the face more clearly when the picture is turned by a quarter or a half?

    The mesh draws a face either way, upside down even with the eyes where the mouth is.
    """
    height, width = picture.shape[:2]
    crop = picture[box.grown(2 * CROP, width, height)]
    with FaceDetector(confidence=0.1) as detector:
        scores = [
            max(
                (found.score for found in detector.detect(np.ascontiguousarray(np.rot90(crop, turns)))),
                default=0.0,
            )
            for turns in range(4)
        ]
    return max(scores[1:]) >= scores[0] + TURNED


def _any_face_when_turned(picture: Picture) -> bool:
    with FaceDetector() as near, FaceDetector(far=True) as far:
        turned = [np.ascontiguousarray(np.rot90(picture, turns)) for turns in (1, 2, 3)]
        return any(detector.detect(view) for detector in (near, far) for view in turned)
