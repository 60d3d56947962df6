import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.material import shared_folder
from trainer.data.realism.anthropometry import (
    LENGTHS,
    RATIOS,
    Group,
    real_points,
    to_front,
    true_points,
    variation,
    within,
)
from trainer.data.realism.media import check_media
from trainer.data.synthetic.face import mean_landmarks
from trainer.data.synthetic.motion import rotation_matrix

FACE = np.asarray(mean_landmarks(), np.float64)


def test_the_spread_of_men_and_women_together() -> None:
    """Two groups without a spread of their own, and one group twice."""
    assert Group((110, 0), (90, 0)).variation == pytest.approx(10)
    assert Group((100, 5), (100, 5)).variation == pytest.approx(5)
    assert Group((110, 5), (90, 5)).variation == pytest.approx(math.hypot(10, 5))
    assert variation(np.array([90.0, 110])) == pytest.approx(10)


def test_within_the_middle_98_of_100() -> None:
    of = np.arange(101.0)
    assert within(np.array([0.5, 1, 50, 99, 99.5]), of).tolist() == [False, True, True, True, False]


def test_turned_faces_are_measured_as_from_the_front() -> None:
    angles = torch.tensor([(0.0, 0, 0), (35.0, 0, 0), (-20.0, 15, 25)])
    turns = rotation_matrix(angles).double().numpy()
    faces = 17 * np.einsum("kx,nyx->nky", FACE, turns) + np.array([300, 200, 50])
    for name, of in RATIOS.items():
        values = of(to_front(faces))
        assert values == pytest.approx(of(FACE[None])[0], rel=1e-4), name


def test_rendered_people_have_human_measures() -> None:
    people = true_points(60, seed=0)
    for name, length in LENGTHS.items():
        a, b = length.ends
        mean = 10 * np.linalg.norm(people[:, a] - people[:, b], axis=1).mean()
        (men, _), (women, _) = length.published
        assert 0.8 * women < mean < 1.25 * men, name
    assert np.allclose(people[:3], true_points(3, seed=0), atol=1e-5)


def test_smiles_are_seen_in_portraits_only() -> None:
    widths = [RATIOS["mouth width"](to_front(true_points(30, 0, smiling))) for smiling in (False, True)]
    assert widths[1].mean() > widths[0].mean()


def test_media_laid_out_otherwise_are_refused(tmp_path: Path) -> None:

    folder = tmp_path
    with pytest.raises(ValueError, match="no folder portraits"):
        check_media(folder)
    for name in ("portraits", "driving"):
        (folder / name).mkdir()
    check_media(folder)
    with pytest.raises(ValueError, match="no faces"):
        real_points(folder)


def test_a_real_portrait_is_measured(tmp_path: Path) -> None:

    folder = tmp_path
    for name in ("portraits", "driving"):
        (folder / name).mkdir()
    shutil.copy(shared_folder("media") / "portraits" / "astronaut.png", folder / "portraits")
    faces = real_points(folder)
    assert list(faces) == ["astronaut"]
    assert 0.6 < RATIOS["face width / height"](faces["astronaut"][None])[0] < 1
