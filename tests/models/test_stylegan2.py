"""StyleGAN2 and the encoders of e4e and pSp: what their papers say."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from models.e4e import Encoder
from models.layers import ModulatedConv2d
from models.stylegan2 import Discriminator, Generator, group_deviation, styles
from tests.material import shared_folder
from tests.parity import stylegan2 as parity

STYLE = 64  # numbers in a row of a narrow code


@pytest.fixture
def generator() -> Generator:
    torch.manual_seed(0)
    return Generator(32, STYLE, 32).eval()


def codes(count: int, rows: int = styles(32)) -> Tensor:
    return torch.randn(count, rows, STYLE, generator=torch.Generator().manual_seed(1))


def test_a_wrong_slope_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = shared_folder("golden/public")
    monkeypatch.setattr(parity, "CHECKS", dict([next(iter(parity.CHECKS.items()))]))
    monkeypatch.setattr("models.layers.SLOPE", 0.21)
    failed = {name for name, ok, *_ in parity.rows(folder) if not ok}
    assert {"sg2_rosinality_g:w", "sg2_rosinality_g:image_wplus", "sg2_rosinality_g:latent_z_trunc"} <= failed


@pytest.mark.parametrize(("size", "rows"), [(8, 4), (32, 8), (256, 14), (1024, 18)])
def test_a_picture_takes_two_styles_for_each_halving(size: int, rows: int) -> None:
    assert styles(size) == rows


@pytest.mark.parametrize("size", [4, 48, 0])
def test_sides_that_are_not_powers_of_two_are_refused(size: int) -> None:
    for network in (Generator, Discriminator):
        with pytest.raises(ValueError, match="power of two"):
            network(size)


def test_every_style_acts_and_only_from_its_layer_on(generator: Generator) -> None:
    """Rows are used in order: a later one leaves alone what is drawn at lower resolutions."""
    plain = codes(1)
    seen: list[Tensor] = []
    generator.convs[1].register_forward_hook(lambda _, __, out: seen.append(out))  # takes the row 2, at 8²
    with torch.inference_mode():
        before = generator(plain)
        for row in range(plain.shape[1]):
            changed = plain.clone()
            changed[:, row] += 1
            after = generator(changed)
            assert float((after - before).abs().max()) > 1e-3
            assert torch.equal(seen[-1], seen[0]) == (row > 2)


def test_the_same_code_gives_the_same_picture(generator: Generator) -> None:
    """Noise is constant, though there is some."""
    for part in (generator.conv1, *generator.convs):
        torch.nn.init.constant_(part.noise.weight, 0.3)
    with torch.inference_mode():
        assert torch.equal(generator(codes(1)), generator(codes(1)))
        first = generator(codes(1))
        for buffer in generator.noises.buffers():
            buffer.neg_()
        assert float((generator(codes(1)) - first).abs().max()) > 1e-2


def test_styles_on_features_are_styles_on_weights() -> None:
    """Equation 1 and 3: each picture's own weights, scaled by its style and brought to variance one."""
    torch.manual_seed(0)
    layer = ModulatedConv2d(6, 5, 3, STYLE)
    x, style = torch.randn(3, 6, 7, 7), torch.randn(3, STYLE)
    with torch.inference_mode():
        scale = layer.modulation(style)
        for row in range(3):
            weight = layer.weight[0] * layer.scale * scale[row].view(1, -1, 1, 1)
            weight = weight / (weight.square().sum((1, 2, 3), keepdim=True) + 1e-8).sqrt()
            alone = F.conv2d(x[row : row + 1], weight, padding=1)
            assert torch.allclose(layer(x, style)[row : row + 1], alone, atol=1e-5)


def test_truncation_draws_towards_the_mean(generator: Generator) -> None:
    z, mean = torch.randn(2, STYLE), torch.randn(1, STYLE)
    with torch.inference_mode():
        w = generator.map(z)
        assert torch.allclose(generator.map(z, 0.0, mean), mean.expand(2, -1))
        assert torch.allclose(generator.map(z, 1.0, mean), w, atol=1e-6)
        assert torch.allclose(generator.map(3 * z), w, atol=1e-4), "only the direction of z counts"


@pytest.mark.parametrize(("batch", "group"), [(1, 1), (2, 2), (4, 4), (8, 4), (6, 3)])
def test_the_deviation_is_that_of_every_nth_picture(batch: int, group: int) -> None:
    x = torch.randn(batch, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    found = group_deviation(x)
    apart = batch // group
    for row in range(batch):
        together = x[row % apart :: apart]
        assert len(together) == group
        known = (together.var(0, correction=0) + 1e-8).sqrt().mean()
        assert torch.allclose(found[row], known.expand(1, 2, 2))


def test_the_encoder_gives_a_row_for_each_style() -> None:
    """Heads of the first three rows look at the coarsest features, the next four at the middle."""
    torch.manual_seed(0)
    encoder = Encoder(styles(64), side=64, style=STYLE).eval()
    assert [len(head.convs) // 2 for head in encoder.styles] == [2] * 3 + [3] * 4 + [4] * 3
    full = Encoder(14)
    assert [len(head.convs) // 2 for head in full.styles] == [4] * 3 + [5] * 4 + [6] * 7
    with torch.inference_mode():
        picture = torch.rand(2, 3, 64, 64) * 2 - 1
        code = encoder(picture)
        assert code.shape == (2, 10, STYLE)
        encoder.relative = False
        own = encoder(picture)
    assert torch.allclose(code[:, 0], own[:, 0])
    assert torch.allclose(code[:, 1:], own[:, :1] + own[:, 1:], atol=1e-6)


def gradients(loss: Tensor, *networks: torch.nn.Module) -> dict[str, Any]:
    loss.backward()
    return {name: parameter.grad for network in networks for name, parameter in network.named_parameters()}


def test_gradients_reach_every_parameter(generator: Generator) -> None:
    """Of mapping, synthesis and discriminator, through the non-saturating loss."""
    judge = Discriminator(32, 32)
    w = generator.map(torch.randn(4, STYLE)).unsqueeze(1).expand(-1, styles(32), -1)
    found = gradients(F.softplus(-judge(generator(w))).mean(), generator, judge)
    for name, gradient in found.items():
        assert gradient is not None, name
        assert float(gradient.abs().max()) > 0, name
