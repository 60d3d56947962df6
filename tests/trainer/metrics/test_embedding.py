from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from trainer.metrics.embedding import invariance, retrieve


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_spreads_by_hand() -> None:
    """Faces of one number, 0 and 1 of one video, 10 of another: 1 apart within, 10 and 9 between."""
    found = invariance(torch.tensor([0.0, 1.0, 10.0]).view(3, 1, 1, 1), torch.tensor([5, 5, 2]))
    assert found == (1, 9.5)
    assert found.ratio == pytest.approx(1 / 9.5)


def test_faces_that_pose_does_not_change() -> None:
    faces, groups = drawn(6, 3, 4, 4).repeat_interleave(5, 0), torch.arange(6).repeat_interleave(5)
    assert invariance(faces, groups).ratio == 0
    nearly = faces + 1e-6 * drawn(*faces.shape, seed=1)
    assert 0 < invariance(nearly, groups).ratio < 1e-5


def test_faces_that_tell_nothing_of_the_video() -> None:
    groups = torch.arange(10).repeat_interleave(8)
    assert invariance(drawn(80, 3, 4, 4), groups).ratio == pytest.approx(1, abs=0.02)


def test_a_ranking_by_hand() -> None:
    """Cosines 0.6, 1, −1, 0 and 1, of which the earlier comes first; lengths don't matter."""
    codes = torch.tensor([[3.0, 4.0], [0.1, 0.0], [-5.0, 0.0], [0.0, 0.0], [7.0, 0.0]])
    found = retrieve(torch.tensor([[2.0, 0.0], [0.0, -1.0]]), codes)
    assert found.order[0].tolist() == [1, 4, 0, 3, 2]
    assert found.cosine[0].tolist() == pytest.approx([1, 1, 0.6, 0, -1])
    assert found.order[1].tolist() == [1, 2, 3, 4, 0]


def test_equals_keep_their_order() -> None:
    assert retrieve(torch.ones(1, 2), torch.ones(100, 2)).order[0].tolist() == list(range(100))


def test_each_code_finds_itself_first() -> None:
    codes = drawn(50, 16)
    assert retrieve(3 * codes, codes).order[:, 0].tolist() == list(range(50))


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda x: invariance(x, torch.zeros(3)), "expected one for each of the 4"),
        (lambda x: invariance(x, torch.zeros(4)), "at least two videos"),
        (lambda x: invariance(x, torch.arange(4)), "at least two of one"),
        (lambda x: invariance(0 * x, torch.tensor([0, 0, 1, 1])), "all videos' faces are equal"),
        (lambda x: retrieve(x[0], x), "expected Q×D"),
        (lambda x: retrieve(x[:, :2], x), "with one D"),
    ],
)
def test_what_is_refused(call: Callable[[Tensor], object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        call(drawn(4, 3))
