"""The crop of a video in time: it moves with the head, but not with the mouth."""

from typing import Any

import numpy as np
import numpy.typing as npt

from models.contract import CropRule
from models.face_geometry import LANDMARKS_68, RIGID, crop_to_frame, eye_line, scale_of, to_crop_units
from realtime.filters import Array, OneEuroFilter, Smoothing

HEAD = Smoothing(rest_hz=0.3, per_speed=6.0, speed_hz=2.0)  # speed in face sizes a second
PLACE = Smoothing(rest_hz=0.05, per_speed=0.0)
# Points that neither expression nor speech moves. The size of the head jitters less in them than in all of
# RIGID, whose others lie on the forehead's outline.
STEADY = tuple(landmark for landmark in LANDMARKS_68 if landmark in RIGID)
FACE = 3.0  # a face's longer side / spread of its STEADY points


class SteadyCrop:
    """The square of a `CropRule`, smoothed over the frames of one video.

    The rule's square grows with an opening mouth and jumps with the jaw's outline. This one hangs on the
    head: a similarity of few points, smoothed as one, which follows a head that moves. Where on the head the
    rule wants the square, and how large, is averaged over seconds: the rule is kept to in the mean.
    """

    def __init__(self, rule: CropRule) -> None:
        self._rule = rule
        self._head = OneEuroFilter(HEAD)
        self._place = OneEuroFilter(PLACE)

    def reset(self) -> None:
        """Forget everything: the next square is the rule's own."""
        self._head.reset()
        self._place.reset()

    def to_frame(
        self, points: npt.NDArray[np.floating[Any]], width: int, height: int, time_s: float
    ) -> Array:
        """Where the next frame's square lies: 2×3, crop units → pixels of the frame, like `crop_to_frame`.

        points: 478×3 in pixels. width, height: of the frame. time_s: when it was taken.
        """
        square, head = crop_to_frame(points, self._rule, width, height), _head(points)
        # The square's centre and x axis in the head's own units; of a level one, only how long that is.
        x, y, size = to_crop_units(np.array([[*square @ (0.5, 0.5, 1), scale_of(square)]]), head)[0]
        along = np.array([size, 0.0])
        if self._rule.upright:
            along = square[:, 0] @ head[:, :2] / scale_of(head) ** 2
        place = self._place.filter(np.array([[x, y, *along]]), time_s)[0]
        (a, b), middle = self._head.filter(head.T[[0, 2]], time_s, unit=scale_of(head))
        turn = np.array([[a, -b], [b, a]])
        c, s = turn @ place[2:] if self._rule.upright else (scale_of(turn) * place[2], 0.0)
        axes = np.array([[c, -s], [s, c]])
        corner = middle + turn @ place[:2] - axes @ (0.5, 0.5)
        return np.concatenate([axes, corner[:, None]], 1)


def _head(points: npt.NDArray[np.floating[Any]]) -> Array:
    """Where the head lies: a similarity, 2×3, from face sizes to pixels. Turns and nods leave its scale."""
    steady = np.asarray(points, np.float64)[list(STEADY)]
    middle = steady.mean(0)
    a, b = eye_line(points) * FACE * np.sqrt(np.square(steady - middle).sum(1).mean())
    return np.array([[a, -b, middle[0]], [b, a, middle[1]]])
