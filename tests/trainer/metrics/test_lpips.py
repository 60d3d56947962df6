import pytest
import torch
from torch import Tensor

from trainer.metrics.lpips import CHANNELS, LpipsAlex, lpips


def made_up() -> LpipsAlex:
    torch.manual_seed(0)
    network = LpipsAlex().eval()
    for lin in network.lins:
        lin.data.uniform_(0, 1)
    return network


def test_one_layer_by_hand() -> None:
    """Two channels, the first times 0 and 1 plus 3 and 4: of length 1 they are (0.6, 0.8), and of the second
    picture's pixels, half have (0.8, 0.6). Differences −0.2 and 0.2, squares 0.04, weights 1 and 2."""

    def extract(x: Tensor) -> list[Tensor]:
        bright = (x[:, :1] > 0).float()
        return [torch.cat((3 + bright, 4 - bright), 1), 0 * x]

    dark = torch.zeros(1, 3, 2, 2)
    half = dark.clone()
    half[..., 0] = 1
    found = lpips(half, dark, extract, [torch.tensor([1.0, 2.0]), torch.ones(3)])
    assert found.tolist() == pytest.approx([0.5 * (0.04 + 0.08)])


def test_pictures_are_normalised_for_imagenet() -> None:
    """Grey 0.485, 0.456, 0.406 is its mean, and one deviation more is 1."""
    seen = []

    def extract(x: Tensor) -> list[Tensor]:
        seen.append(x)
        return [x]

    mean = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1).expand(1, 3, 2, 2)
    deviation = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)
    lpips(mean, mean + deviation, extract, [torch.ones(3)])
    torch.testing.assert_close(seen[0], torch.zeros(1, 3, 2, 2), atol=1e-6, rtol=0)
    torch.testing.assert_close(seen[1], torch.ones(1, 3, 2, 2))


def test_alexnet() -> None:
    """Nought of a picture to itself, the same both ways, of each row alone, and greater with more noise."""
    network = made_up()
    a, noise = torch.rand(2, 3, 64, 64), torch.randn(2, 3, 64, 64)
    assert network(a, a).tolist() == [0, 0]
    little, much = network(a + 0.02 * noise, a), network(a + 0.2 * noise, a)
    assert bool((little > 0).all())
    assert bool((little < much).all())
    torch.testing.assert_close(network(a, a + 0.2 * noise), much)
    torch.testing.assert_close(network((a + 0.2 * noise)[1:], a[1:]), much[1:])


def test_alexnets_layers() -> None:
    """Shapes as the architecture gives them for 224²; each after its ReLU."""
    found = made_up().layers(torch.randn(1, 3, 224, 224))
    assert [tuple(x.shape[1:]) for x in found] == [
        (channels, side, side) for channels, side in zip(CHANNELS, (55, 27, 13, 13, 13), strict=True)
    ]
    assert all(float(x.detach().min()) == 0 for x in found)
    assert found[0].requires_grad


def test_the_least_picture() -> None:
    network = made_up()
    assert network(torch.zeros(1, 3, 31, 31), torch.ones(1, 3, 31, 31)).shape == (1,)
    with pytest.raises(ValueError, match="less than 31 pixels"):
        network(torch.zeros(1, 3, 30, 40), torch.ones(1, 3, 30, 40))


def test_what_does_not_fit() -> None:
    x = torch.zeros(1, 3, 4, 4)
    with pytest.raises(ValueError, match="the same B×3×H×W"):
        lpips(x, x[..., :2], lambda x: [x], [torch.ones(3)])
    with pytest.raises(ValueError, match="for 3 channels"):
        lpips(x, x, lambda x: [x], [torch.ones(2)])
