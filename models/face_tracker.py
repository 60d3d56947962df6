"""Faces in pictures, by MediaPipe (imported when it is first needed): landmarks of stills and of video, the person's
mask, and the `Observation` that a generator reads."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from models.contract import CropRule, Observation
from models.face_geometry import crop_to_frame, to_crop_units

Picture = npt.NDArray[np.uint8]  # H×W×3 RGB
Points = npt.NDArray[np.float64]  # 478×3, pixels of the picture; z in the scale of x


def _mesh(video: bool, faces: int) -> Any:
    import mediapipe

    return mediapipe.solutions.face_mesh.FaceMesh(
        static_image_mode=not video, refine_landmarks=True, max_num_faces=faces
    )


def _landmarks(mesh: Any, picture: Picture) -> list[Points]:
    """All faces of the picture, largest first."""
    height, width = picture.shape[:2]
    found = mesh.process(picture).multi_face_landmarks or []
    scale = np.array([width, height, width], np.float64)
    faces = [np.array([[p.x, p.y, p.z] for p in face.landmark]) * scale for face in found]
    return sorted(faces, key=lambda points: -float(np.ptp(points[:, :2], axis=0).prod()))


class FaceTracker:
    """Landmarks of one video stream. Not thread-safe; one per session."""

    def __init__(self, faces: int = 2) -> None:
        self._mesh = _mesh(video=True, faces=faces)

    def track(self, picture: Picture) -> list[Points]:
        """The faces of the next frame, largest first; empty where there is none."""
        return _landmarks(self._mesh, picture)

    def close(self) -> None:
        self._mesh.close()


def find_faces(picture: Picture, faces: int = 2) -> list[Points]:
    """The faces of a still, largest first."""
    mesh = _mesh(video=False, faces=faces)
    try:
        return _landmarks(mesh, picture)
    finally:
        mesh.close()


def portrait_face(picture: Picture) -> Points:
    """The face of a portrait: the largest. Raises ValueError where there is none."""
    faces = find_faces(picture)
    if not faces:
        raise ValueError(
            "no face found in the source picture: use a portrait whose face is upright and well lit"
        )
    return faces[0]


def person_mask(picture: Picture) -> npt.NDArray[np.float32]:
    """Where the person is: H×W in [0, 1]."""
    import mediapipe

    segmenter = mediapipe.solutions.selfie_segmentation.SelfieSegmentation(model_selection=0)
    try:
        return np.array(segmenter.process(picture).segmentation_mask, np.float32)
    finally:
        segmenter.close()


def observe(
    picture: Picture,
    points: Points | None,
    rule: CropRule,
    person: npt.NDArray[np.float32] | None = None,
) -> Observation:
    """One picture as a generator wants to see it (batch 1, on the CPU).

    points: its landmarks; None where no face was seen: the observation is then not `valid`, and holds the whole picture.
    person: H×W mask, for source pictures.
    """
    height, width = picture.shape[:2]
    if points is None:
        to_frame = np.array([[width, 0, 0], [0, height, 0]], np.float64)
        crop_points = np.zeros((478, 3))
    else:
        to_frame = crop_to_frame(points, rule, width, height)
        crop_points = to_crop_units(points, to_frame)
    image = torch.from_numpy(_cut(picture, to_frame, rule.size)).permute(2, 0, 1)[None].float() / 255
    mask = None if person is None else torch.from_numpy(_cut(person, to_frame, rule.size))[None, None]
    return Observation(
        image=image,
        points=torch.from_numpy(crop_points.astype(np.float32))[None],
        to_frame=torch.from_numpy(to_frame.astype(np.float32))[None],
        valid=torch.tensor([points is not None]),
        person=mask,
    )


def _cut(picture: npt.NDArray[Any], to_frame: npt.NDArray[np.float64], size: int) -> npt.NDArray[Any]:
    """The size×size crop of a picture; its border is repeated outside."""
    import cv2

    per_pixel = to_frame @ np.diag([1 / size, 1 / size, 1.0])  # crop pixels → picture pixels
    scale = float(np.sqrt(abs(np.linalg.det(per_pixel[:, :2]))))
    if scale >= 2:  # shrink first, or fine texture turns into noise
        smaller = cv2.resize(picture, None, fx=1 / scale, fy=1 / scale, interpolation=cv2.INTER_AREA)
        ratio = np.diag([smaller.shape[1] / picture.shape[1], smaller.shape[0] / picture.shape[0]])
        picture, per_pixel = smaller, ratio @ per_pixel
    # cv2 counts from pixel centres; ours counts from pixel edges
    matrix = per_pixel.copy()
    matrix[:, 2] += per_pixel[:, :2] @ [0.5, 0.5] - 0.5
    cut: npt.NDArray[Any] = cv2.warpAffine(
        picture,
        matrix,
        (size, size),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return cut
