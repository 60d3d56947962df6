"""The measuring instrument: MediaPipe FaceMesh as it comes, one face, without the product's own smoothing."""

from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

Picture = npt.NDArray[np.uint8]  # H×W×3 RGB
Points = npt.NDArray[np.float64]


class Judge:
    """Landmarks of one picture after another. A context manager, because the detector holds native memory."""

    def __init__(self, refined: bool, video: bool = True) -> None:
        """refined: 478 landmarks with irises, or else 468. video: each picture is searched where the face was
        last."""
        import mediapipe

        self._mesh: Any = mediapipe.solutions.face_mesh.FaceMesh(
            static_image_mode=not video, refine_landmarks=refined, max_num_faces=1
        )

    def look(self, picture: Picture) -> Points | None:
        """K×3 in pixels, z in the scale of x; None where no face is seen."""
        faces = self._mesh.process(picture).multi_face_landmarks
        if not faces:
            return None
        height, width = picture.shape[:2]
        return np.array([[p.x * width, p.y * height, p.z * width] for p in faces[0].landmark])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._mesh.close()
