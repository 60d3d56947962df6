"""Faces in pictures, by MediaPipe (imported when it is first needed): boxes, landmarks, the person's mask.

Landmarks of video and of stills are found alike: the mesh looks at where its last landmarks lay. On a still
it looks several times, until they have settled; a single look scatters five times as much, and is off by 1 %
of the distance between the eyes.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from models.contract import LANDMARKS

Picture = npt.NDArray[np.uint8]  # H×W×3 RGB
Points = npt.NDArray[np.float64]  # 478×3, pixels of the picture; z in the scale of x

CONFIDENCE = 0.5  # of the detector, least
CHECK_EVERY = 30  # frames between two looks for a larger face than the tracked one
LARGER = 1.5  # how many times the tracked face's area another one must have …
CHECKS = 2  # … in how many such looks in a row, before the tracker goes over to it
SETTLE, SETTLED = 6, 4  # looks at a still, and how many of the last ones count
SURROUNDINGS = 1.6  # side of what is kept around a face's box that the mesh shall find / side of the box


class Box(NamedTuple):
    """Where a face is, pixels."""

    x: float
    y: float
    width: float
    height: float
    score: float = 1.0  # the detector's confidence, (0, 1]

    @property
    def area(self) -> float:
        return self.width * self.height

    @property
    def side(self) -> float:
        return max(self.width, self.height)

    def holds(self, x: float, y: float) -> bool:
        return (
            abs(x - self.x - self.width / 2) <= self.width / 2
            and abs(y - self.y - self.height / 2) <= self.height / 2
        )

    def overlaps(self, other: "Box") -> bool:
        """Does either hold the other's centre?"""
        mine = self.x + self.width / 2, self.y + self.height / 2
        return other.holds(*mine) or self.holds(other.x + other.width / 2, other.y + other.height / 2)

    def grown(self, factor: float, width: int, height: int) -> tuple[slice, slice]:
        """Rows and columns, within the picture, of the square of `factor` times the box's longer side."""
        x, y, half = self.x + self.width / 2, self.y + self.height / 2, factor * self.side / 2
        rows = slice(max(0, int(y - half)), max(1, min(height, int(np.ceil(y + half)))))
        return rows, slice(max(0, int(x - half)), max(1, min(width, int(np.ceil(x + half)))))


class FaceDetector:
    """Boxes of the faces in single pictures. Not thread-safe.

    far: find small faces too (of about 1/20 of the picture), at three times the time, but not turned ones.
    """

    def __init__(self, far: bool = False, confidence: float = CONFIDENCE) -> None:
        import mediapipe

        self._detection = mediapipe.solutions.face_detection.FaceDetection(
            model_selection=int(far), min_detection_confidence=confidence
        )

    def detect(self, picture: Picture) -> list[Box]:
        """Largest first."""
        height, width = picture.shape[:2]
        boxes = []
        for found in self._detection.process(picture).detections or []:
            box = found.location_data.relative_bounding_box
            place = box.xmin * width, box.ymin * height, box.width * width, box.height * height
            boxes.append(Box(*place, score=float(found.score[0])))
        return sorted(boxes, key=lambda box: -box.area)

    def close(self) -> None:
        self._detection.close()

    def __enter__(self) -> "FaceDetector":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class FaceTracker:
    """Landmarks of the largest face of one video stream. Not thread-safe; one per stream.

    The mesh follows one face; looking for two would run the detector on every frame, for 2 ms. Which face is
    decided by a detector of our own: when there is none to follow, and every `CHECK_EVERY` frames, so that
    somebody who sits down in front is taken, but two faces of like size don't take turns.
    """

    def __init__(self) -> None:
        import mediapipe

        self._mesh = mediapipe.solutions.face_mesh.FaceMesh(
            static_image_mode=False, refine_landmarks=True, max_num_faces=1
        )
        self._detector = FaceDetector()
        self._following = False
        self._since_check = 0  # frames
        self._larger = 0  # how many checks in a row have seen a larger face

    def track(self, picture: Picture) -> Points | None:
        """The next frame's face; None where there is none."""
        points = self._look(picture) if self._following else None
        if points is None:
            self._since_check = self._larger = 0
            points = self._acquire(picture)
        else:
            points = self._check(picture, points)
        self._following = points is not None
        return points

    def close(self) -> None:
        self._mesh.close()
        self._detector.close()

    def __enter__(self) -> "FaceTracker":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _look(self, picture: Picture) -> Points | None:
        found = self._mesh.process(picture).multi_face_landmarks
        if not found:
            return None
        height, width = picture.shape[:2]
        points = np.array([(p.x, p.y, p.z) for p in found[0].landmark], np.float64)
        assert points.shape == (LANDMARKS, 3)
        return points * (width, height, width)

    def _acquire(self, picture: Picture) -> Points | None:
        boxes = self._detector.detect(picture)
        if not boxes:
            return None
        return self._look(picture if len(boxes) == 1 else _alone(picture, boxes[0]))

    def _check(self, picture: Picture, points: Points) -> Points | None:
        """Go over to another face if it has been the larger one for long enough."""
        self._since_check += 1
        if self._since_check < CHECK_EVERY:
            return points
        self._since_check = 0
        mine = box_of(points)
        boxes = self._detector.detect(picture)
        followed = next((box for box in boxes if box.overlaps(mine)), mine)
        others = [box for box in boxes if not box.overlaps(mine) and box.area > LARGER * followed.area]
        self._larger = self._larger + 1 if others else 0
        if self._larger < CHECKS:
            return points
        self._larger = 0
        only = _alone(picture, others[0])
        self._look(only)  # where it looks now there is nothing: this makes the mesh let go
        return self._look(only)


def box_of(points: Points) -> Box:
    """The landmarks' box."""
    low, high = points[:, :2].min(0), points[:, :2].max(0)
    return Box(*low, *(high - low))


def settled_points(picture: Picture, faces: FaceTracker) -> Points | None:
    """Landmarks of a still, or a stream's first frame, once the tracker has settled; None without a face."""
    looks = [faces.track(picture) for _ in range(SETTLE)]
    found = [points for points in looks[-SETTLED:] if points is not None]
    return np.mean(found, axis=0) if found else None


def person_mask(picture: Picture) -> npt.NDArray[np.float32]:
    """Where the person is: H×W in [0, 1]."""
    import mediapipe

    segmenter = mediapipe.solutions.selfie_segmentation.SelfieSegmentation(model_selection=0)
    try:
        return np.array(segmenter.process(picture).segmentation_mask, np.float32)
    finally:
        segmenter.close()


def _alone(picture: Picture, box: Box) -> Picture:
    """The picture, black but for the box and some surroundings."""
    height, width = picture.shape[:2]
    part = box.grown(SURROUNDINGS, width, height)
    alone = np.zeros_like(picture)
    alone[part] = picture[part]
    return alone
