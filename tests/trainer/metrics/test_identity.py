from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from models.identity_embedder import IdentityEmbedder
from tests.trainer.metrics.golden_metrics import Fixture
from trainer.metrics.identity import aced_l1, aced_l1_synthetic, aed_l2, csim, csim_synthetic


def test_the_fixture(golden: Fixture) -> None:
    a = torch.from_numpy(golden["e1"])
    b = a + 0.5 * torch.from_numpy(golden["e2"])
    golden.check(csim(a, b), "cosine_mean")
    golden.check(aed_l2(a, b), "aed_l2_mean")
    golden.check(aed_l2(a, b).square(), "aed_sum_of_squares_mean")


def test_by_hand() -> None:
    a, b = torch.tensor([[3.0, 4.0], [1.0, 0.0]]), torch.tensor([[4.0, 3.0], [0.0, -2.0]])
    assert csim(a, b).tolist() == pytest.approx([24 / 25, 0])
    assert aced_l1(a, b).tolist() == [2, 3]
    assert aed_l2(a, b).tolist() == pytest.approx([2**0.5, 5**0.5])


def test_a_picture_is_itself() -> None:
    torch.manual_seed(0)
    embedder = IdentityEmbedder().eval()
    pictures = torch.rand(3, 3, 96, 96)
    assert csim_synthetic(embedder, pictures, pictures).tolist() == pytest.approx([1, 1, 1])
    other = csim_synthetic(embedder, pictures, pictures.flip(0))
    torch.testing.assert_close(other, csim(embedder(pictures), embedder(pictures.flip(0))))
    assert float(other[0]) < 1 - 1e-6
    assert aced_l1_synthetic(embedder, pictures, pictures).tolist() == [0, 0, 0]
    apart = aced_l1_synthetic(embedder, pictures, pictures.flip(0))
    torch.testing.assert_close(apart, aced_l1(embedder(pictures), embedder(pictures.flip(0))))
    assert float(apart[0]) > 0


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda x: csim(x, x[:2]), "the same B×D"),
        (lambda x: csim(x, 0 * x), "no direction"),
        (lambda x: csim_synthetic(IdentityEmbedder().eval(), x, x), "B×3×96×96"),
        (lambda x: aced_l1_synthetic(IdentityEmbedder().eval(), x, x), "B×3×96×96"),
    ],
)
def test_what_is_refused(call: Callable[[Tensor], object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        call(torch.ones(3, 4))
