"""Who finds landmarks."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from models.face_geometry import LANDMARKS_68
from models.landmark_regressor import LandmarkRegressor
from trainer.evaluation.landmarks import MediaPipe, regressor_of
from trainer.evaluation.pairs import Pairs


def test_mediapipe_finds_rendered_faces_where_they_are(crossing: Pairs) -> None:
    """And none in a grey picture, whatever it saw before."""
    target = crossing.pairs[0].target
    pictures = torch.cat((target.picture.float() / 255, torch.full((1, 3, 48, 48), 0.5)))
    with MediaPipe() as finder:
        found = finder(pictures, torch.zeros(len(pictures), 478, 2))
    assert found.valid.tolist() == [True] * len(target.picture) + [False]
    truth = target.points[:, list(LANDMARKS_68), :2]
    assert float((found.points[:-1] - truth).norm(dim=2).mean()) < 0.02


def saved(folder: Path) -> tuple[LandmarkRegressor, Path]:
    torch.manual_seed(0)
    network = LandmarkRegressor().eval()
    path = folder / "regressor.safetensors"
    save_file({key: one.contiguous() for key, one in network.state_dict().items()}, path)
    return network, path


def test_a_regressor_looks_where_the_face_should_be(tmp_path: Path) -> None:
    """Its answer moves with where it is told to look; and it is the same from either kind of file."""
    network, path = saved(tmp_path)
    torch.save(network.state_dict(), tmp_path / "regressor.pt")
    pictures = torch.full((2, 3, 32, 32), 0.5)
    box = torch.tensor([[0.2, 0.2], [0.6, 0.6]])
    where = torch.stack((box, box + 0.1))
    for file in (path, tmp_path / "regressor.pt"):
        found = regressor_of(file)(pictures, where)
        assert found.points.shape == (2, 68, 2)
        assert bool(found.valid.all())
        assert torch.allclose(found.points[1] - found.points[0], torch.tensor(0.1), atol=1e-4)


def test_other_files_are_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nowhere.safetensors: there is no such file"):
        regressor_of(tmp_path / "nowhere.safetensors")
    save_file({"weight": torch.zeros(3)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match=r"other\.safetensors: .* missing"):
        regressor_of(tmp_path / "other.safetensors")
    (tmp_path / "broken.safetensors").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="broken.safetensors: can't be read"):
        regressor_of(tmp_path / "broken.safetensors")
