"""A driver's face in time: landmarks of one stream, smoothed, as the observations that a generator reads."""

from models.contract import CropRule, Observation
from models.face_tracker import FaceTracker, Picture, Points, box_of, settled_points
from models.observation import observe
from realtime.filters import OneEuroFilter, Smoothing
from realtime.steady_crop import SteadyCrop

SMOOTHING = Smoothing(rest_hz=1.0, per_speed=100.0, speed_hz=3.0)  # speed in face sizes a second


class DriverTracker:
    """Follows the driver of one session or clip. Used by one frame at a time, from any thread.

    The crop is smoothed as well, for networks that look at the picture as a whole, unless the rule wants it
    `exact`, or on whole pixels (`inside`).

    smoothing: of the landmarks; None for landmarks and crop as they come.
    """

    def __init__(self, rule: CropRule, smoothing: Smoothing | None = SMOOTHING) -> None:
        self._rule = rule
        self._faces = FaceTracker()
        self._filter = None if smoothing is None else OneEuroFilter(smoothing)
        exact = smoothing is None or rule.exact or rule.inside
        self._crop = None if exact else SteadyCrop(rule)

    def observe(self, picture: Picture, time_s: float) -> Observation:
        """The next frame as the generator wants to see it: batch 1, on the CPU, not `valid` without a face.

        picture: H×W×3 RGB. time_s: when it was taken; smoothing goes by it.
        """
        points = self._smooth(self._faces.track(picture), time_s)
        if self._crop is None or points is None:
            return observe(picture, points, self._rule)
        height, width = picture.shape[:2]
        to_frame = self._crop.to_frame(points, width, height, time_s)
        return observe(picture, points, self._rule, to_frame=to_frame)

    def warm(self, picture: Picture) -> Observation:
        """One frame, looked at until the landmarks have settled: the best neutral pose of any one frame.

        What follows it must be the stream's next frame, or the same one again.
        """
        self._reset()
        return observe(picture, settled_points(picture, self._faces), self._rule)

    def close(self) -> None:
        """Let go of the detector."""
        self._faces.close()

    def __enter__(self) -> "DriverTracker":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _smooth(self, points: Points | None, time_s: float) -> Points | None:
        if self._filter is None:
            return points
        if points is None:
            self._reset()
            return None
        return self._filter.filter(points, time_s, unit=box_of(points).side)

    def _reset(self) -> None:
        for smoother in (self._filter, self._crop):
            if smoother is not None:
                smoother.reset()
