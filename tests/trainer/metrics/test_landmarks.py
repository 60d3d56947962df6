import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from tests.trainer.metrics.golden_metrics import Fixture
from trainer.metrics.landmarks import akd_interocular, akd_l1_256, akd_l2_256

ALL = (akd_l2_256, akd_l1_256, akd_interocular)


def faces(count: int = 3) -> Tensor:
    """count×68×2 crop units."""
    return torch.rand(count, 68, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_the_fixture(golden: Fixture) -> None:
    """Its points are in pixels."""
    truth = torch.from_numpy(golden["kp1"])
    points = truth + torch.from_numpy(golden["kpn"])
    golden.check(akd_l2_256(points / 256, truth / 256), "akd_l2_mean_over_points_and_frames")
    golden.check(akd_l1_256(points / 256, truth / 256), "akd_l1_mean_over_coordinates")


def test_a_shift_of_one_pixel() -> None:
    """Along x it is 1 px, or ½ px a coordinate; along 3 and 4 px it is 5, or 3½ a coordinate."""
    truth = faces(2)
    points = truth + torch.tensor([[[1.0, 0.0]], [[3.0, 4.0]]]) / 256
    assert akd_l2_256(points, truth).tolist() == pytest.approx([1, 5])
    assert akd_l1_256(points, truth).tolist() == pytest.approx([0.5, 3.5])


def test_depth_does_not_count() -> None:
    truth = torch.cat((faces(), torch.zeros(3, 68, 1)), 2)
    points = truth + torch.tensor([0, 0, 1.0])
    for metric in ALL:
        assert metric(points, truth).tolist() == [0, 0, 0]


def test_interocular_is_a_share_of_the_eyes_distance() -> None:
    """Off by a tenth of it, whatever the picture's size."""
    truth = faces(1)
    truth[0, 36], truth[0, 45] = torch.tensor([0.2, 0.5]), torch.tensor([0.6, 0.8])  # ½ apart
    assert akd_interocular(truth + torch.tensor([0.05, 0]), truth).tolist() == pytest.approx([10])
    other = akd_interocular(truth + torch.tensor([0.05, 0]), truth, corners=(0, 1))
    between = torch.linalg.vector_norm(truth[0, 0] - truth[0, 1])
    assert other.tolist() == pytest.approx([5 / float(between)])


def test_a_face_not_found_is_off_by_the_faces_box() -> None:
    """A box of 30 × 40 px: 50 px, 35 a coordinate; of the eyes, 25 px apart, 200 %."""
    truth = torch.full((1, 68, 2), 0.5, dtype=torch.float64)
    truth[0, 0], truth[0, 1] = torch.tensor([0.5, 0.5]) + torch.tensor([30, 40]) / 256, truth[0, 2]
    truth[0, 36] = truth[0, 2] + torch.tensor([25, 0]) / 256
    nowhere = torch.full_like(truth, math.nan)
    missing = torch.tensor([False])
    assert akd_l2_256(nowhere, truth, missing).tolist() == pytest.approx([50])
    assert akd_l1_256(nowhere, truth, missing).tolist() == pytest.approx([35])
    assert akd_interocular(nowhere, truth, missing).tolist() == pytest.approx([200])


@pytest.mark.parametrize("metric", ALL)
@pytest.mark.parametrize("off", [0.01, 5.0])
def test_none_is_worse_than_a_face_not_found(metric: Callable[..., Tensor], off: float) -> None:
    truth = faces(3)
    points = truth + off
    points[1] = math.nan
    valid = torch.tensor([True, False, True])
    found = metric(points, truth, valid)
    assert float(found[1]) == float(found.max())
    torch.testing.assert_close(found[[0, 2]], metric(points[[0, 2]], truth[[0, 2]]))


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda p: akd_l2_256(p, p[:, :5]), "same B, N"),
        (lambda p: akd_l2_256(p, p, torch.ones(3)), "expected 3 bool"),
        (lambda p: akd_l1_256(p * math.nan, p), "mark rows without a face"),
        (lambda p: akd_l1_256(p, p * math.nan), "without a true face"),
        (lambda p: akd_interocular(p[:, :5], p[:, :5]), "no number 45"),
        (lambda p: akd_interocular(p, torch.zeros_like(p)), "in one place"),
    ],
)
def test_what_is_refused(call: Callable[[Tensor], Tensor], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        call(faces())
