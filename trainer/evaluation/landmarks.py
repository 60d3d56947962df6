"""Who says where the landmarks of a drawn picture lie: MediaPipe, or our own regressor where there is none.

Both give the 68 points of `LANDMARKS_68`. Figures of one can't be compared with those of the other.
"""

import abc
import importlib.util
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from models.face_geometry import LANDMARKS_68
from models.landmark_regressor import SIDE as REGRESSED
from models.landmark_regressor import LandmarkRegressor
from models.weights import check_finite, check_keys, check_shapes, naming
from trainer.data.realism.crops import AROUND, Squares, cut, grey, out_of

ENLARGED = 256  # pixels, of what MediaPipe looks at
DETECTED = 0.8  # side of the detector's box / longer side of the landmarks' box, about
AT_ONCE = 256  # pictures


class Found(NamedTuple):
    """Landmarks of B pictures."""

    points: Tensor  # B×68×2 float32 in crop units, on the CPU; nought where not valid
    valid: Tensor  # B bool: was a face found


class Finder(abc.ABC):
    """Looks for one face in each picture."""

    name: str  # for reports

    @abc.abstractmethod
    def __call__(self, pictures: Tensor, where: Tensor) -> Found:
        """pictures: B×3×S×S in [0, 1]. where: B×N×≥2, landmarks of a face about where this one should be,
        crop units: for a finder without a detector of its own."""


class MediaPipe(Finder):
    """On pictures enlarged to 256², each a still of its own. What it saw before, as copies of a source, it
    isn't asked about again. For a `with` block."""

    name = "MediaPipe, pictures enlarged to 256²"

    def __init__(self) -> None:
        from models.face_tracker import FaceTracker

        self._tracker = FaceTracker()
        self._blank = np.zeros((ENLARGED, ENLARGED, 3), np.uint8)
        self._known: dict[bytes, Tensor | None] = {}  # by the pictures' checksums

    def __call__(self, pictures: Tensor, where: Tensor) -> Found:
        points = torch.zeros(len(pictures), len(LANDMARKS_68), 2)
        valid = torch.zeros(len(pictures), dtype=torch.bool)
        for row, picture in enumerate(pictures.float().cpu()):
            key = sha256(picture.numpy().tobytes()).digest()
            if key not in self._known:
                self._known[key] = self._look(picture)
            if (found := self._known[key]) is not None:
                points[row], valid[row] = found, True
        return Found(points, valid)

    def _look(self, picture: Tensor) -> Tensor | None:
        """68×2 crop units, or None. picture: 3×S×S."""
        from models.face_tracker import settled_points

        large = F.interpolate(picture[None], (ENLARGED, ENLARGED), mode="bilinear", antialias=True)[0]
        levels = (large.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).contiguous().numpy()
        self._tracker.track(self._blank)  # so that it forgets the last picture's face
        points = settled_points(levels, self._tracker)
        return None if points is None else torch.from_numpy(points[list(LANDMARKS_68), :2] / ENLARGED).float()

    def __enter__(self) -> "MediaPipe":
        return self

    def __exit__(self, *_: object) -> None:
        self._tracker.close()


class Regressor(Finder):
    """A trained `LandmarkRegressor`, which looks where the face should be and always finds one."""

    def __init__(self, network: LandmarkRegressor) -> None:
        self.network = network.eval()
        self.name = "a regressor of 68 landmarks that looks where the face should be and always finds one"

    @torch.no_grad()
    def __call__(self, pictures: Tensor, where: Tensor) -> Found:
        device = next(self.network.parameters()).device
        points = []
        for images, place in zip(torch.split(pictures, AT_ONCE), torch.split(where, AT_ONCE), strict=True):
            squares = Squares(*(part.to(device) for part in squares_about(place.float())))
            crops = cut(grey(images.to(device).float()), squares, REGRESSED)
            points.append(out_of(self.network(crops), squares).cpu())
        return Found(torch.cat(points), torch.ones(len(pictures), dtype=torch.bool))


def squares_about(points: Tensor) -> Squares:
    """About where the detector's box of these landmarks (B×N×≥2) would lie: what the regressor learnt."""
    low, high = points[..., :2].amin(1), points[..., :2].amax(1)
    side = AROUND * DETECTED * (high - low).amax(1)
    return Squares((low + high) / 2, side, torch.zeros_like(side))


def regressor_of(path: Path) -> Regressor:
    """By the weights in a file: the state dict of a `LandmarkRegressor`, as safetensors or by torch.save.
    Raises ValueError, one line that names the file, for anything else."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from models import pickles
    from models.public_weights import plain

    network = LandmarkRegressor()
    expected = network.state_dict()
    with naming(path):
        if not path.is_file():
            raise ValueError("there is no such file; expected the weights of a LandmarkRegressor")
        if path.suffix == ".safetensors":
            try:
                state = load_file(path)
            except (SafetensorError, OSError) as error:
                raise ValueError(f"can't be read: {error}") from None
        else:
            state = {}
    if path.suffix != ".safetensors":
        state = dict(plain(pickles.tensors(path), str(path)))
    with naming(path):
        check_keys(state, expected, "LandmarkRegressor")
        check_shapes(state, expected, "LandmarkRegressor")
        check_finite(state)
    network.load_state_dict(state)
    return Regressor(network)


def mediapipe_there() -> bool:
    return importlib.util.find_spec("mediapipe") is not None
