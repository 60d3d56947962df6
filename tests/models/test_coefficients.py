"""What a face model says of a picture: the two networks, and the files that they come from."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from models.coefficients import (
    CoefficientRegressor,
    FaceModel,
    load_coefficients,
    save_coefficients,
)

APPEARANCE, STRUCTURE = ("skin_tone", "age"), ("yaw", "jawOpen", "roll")


def made(seed: int = 0) -> CoefficientRegressor:
    """Untrained, but for norms that have seen something."""
    torch.manual_seed(seed)
    network = CoefficientRegressor(APPEARANCE, STRUCTURE)
    network(torch.rand(8, 3, 64, 64))
    network.mean.copy_(torch.arange(5.0))
    return network.eval()


def stored() -> dict[str, Tensor]:
    return {key: tensor.contiguous() for key, tensor in made().state_dict().items()}


def header(**changed: str) -> dict[str, str]:
    said = {"appearance": json.dumps(APPEARANCE), "structure": json.dumps(STRUCTURE)}
    return {"kind": "coefficients", "version": "1", **said, **changed}


def test_is_as_small_as_it_says() -> None:
    network = CoefficientRegressor([f"a{n}" for n in range(73)], [f"s{n}" for n in range(49)])
    assert sum(parameter.numel() for parameter in network.parameters()) <= 0.5e6
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counted:
        network.eval()(torch.rand(1, 3, 64, 64))
    assert counted.get_total_flops() / 2 <= 40e6


@pytest.mark.parametrize("side", [32, 64, 96, 128])
def test_sees_pictures_of_any_size(side: int) -> None:
    model: FaceModel = made()
    found = model.coefficients(torch.rand(2, 3, side, side))
    assert (found.appearance.shape, found.structure.shape) == ((2, 2), (2, 3))
    assert (model.appearance_names, model.structure_names) == (APPEARANCE, STRUCTURE)


def test_a_larger_picture_is_its_areas_means() -> None:
    picture = torch.rand(2, 3, 64, 64)
    large = picture.repeat_interleave(2, 2).repeat_interleave(2, 3)
    for one, other in zip(made().coefficients(picture), made().coefficients(large), strict=True):
        assert torch.allclose(one, other, atol=1e-5)


def test_a_picture_is_seen_alike_alone_and_beside_others() -> None:
    pictures, network = torch.rand(3, 3, 64, 64), made()
    alone = torch.cat([network.coefficients(picture[None]).structure for picture in pictures])
    assert torch.allclose(network.coefficients(pictures).structure, alone, atol=1e-5)


def test_landmarks_lie_in_the_picture() -> None:
    _, points = made()(torch.rand(2, 3, 64, 64))
    assert points.shape == (2, 68, 2)
    assert bool(((points > 0) & (points < 1)).all())


def test_gradients_are_those_of_finite_differences() -> None:
    network = made().double().requires_grad_(False)
    picture = torch.rand(1, 3, 64, 64, dtype=torch.float64, requires_grad=True)
    along = torch.randn(picture.shape, dtype=torch.float64)

    def value(image: Tensor) -> Tensor:
        found = network.coefficients(image)
        return found.appearance.sum() + (found.structure**2).sum()

    (gradient,) = torch.autograd.grad(value(picture), picture)
    step = 1e-8  # smaller than the way to the next ReLU's corner
    with torch.no_grad():
        slope = (value(picture + step * along) - value(picture - step * along)) / (2 * step)
    assert float((gradient * along).sum()) == pytest.approx(float(slope), rel=1e-4)
    assert all(parameter.grad is None for parameter in network.parameters())


def test_only_some_of_its_numbers() -> None:
    network, pictures = made(), torch.rand(2, 3, 64, 64)
    less = network.only(frozenset(("age", "roll", "yaw")))
    assert (less.appearance_names, less.structure_names) == (("age",), ("yaw", "roll"))
    assert less.mean.tolist() == [1, 2, 4]
    whole, part = network.coefficients(pictures), less.coefficients(pictures)
    assert torch.allclose(part.appearance, whole.appearance[:, 1:], atol=1e-6)
    assert torch.allclose(part.structure, whole.structure[:, [0, 2]], atol=1e-6)
    with pytest.raises(ValueError, match="each half needs a number"):
        network.only(frozenset(("age",)))


def test_a_file_brings_back_the_same_network(tmp_path: Path) -> None:
    network, pictures = made(), torch.rand(2, 3, 64, 64)
    save_coefficients(network, tmp_path / "c.safetensors")
    before = torch.random.get_rng_state()
    again = load_coefficients(tmp_path / "c.safetensors")
    assert torch.equal(torch.random.get_rng_state(), before)
    assert not again.training
    assert not any(parameter.requires_grad for parameter in again.parameters())
    assert (again.appearance_names, again.structure_names) == (APPEARANCE, STRUCTURE)
    assert torch.equal(again.mean, network.mean)
    for one, other in zip(again.coefficients(pictures), network.coefficients(pictures), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"kind": "imf"}, "not the weights of a CoefficientRegressor"),
        ({"version": "2"}, "not the weights of a CoefficientRegressor of this version"),
        ({"appearance": "[1]"}, "'appearance' holds no names"),
        ({"structure": "["}, "'structure' holds no names"),
        ({"structure": "[" * 100_000}, "'structure' holds no names"),
        ({"structure": "[]"}, "each half needs a number"),
        ({"structure": '["yaw", "yaw", "age"]'}, "a name of its own"),
        ({"structure": '["yaw"]'}, "mean is 5 float32; CoefficientRegressor expects 3"),
    ],
)
def test_a_header_that_does_not_fit_is_refused(changed: dict[str, str], said: str, tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    save_file(stored(), path, header(**changed))
    with pytest.raises(ValueError, match=f"^{path}: [^\n]*{said}[^\n]*$"):
        load_coefficients(path)


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    with pytest.raises(ValueError, match="there is no such file; python -m trainer.prepare coefficients"):
        load_coefficients(path)
    torch.save(made().state_dict(), path)
    with pytest.raises(ValueError, match=f"^{path}: no safetensors file[^\n]*$"):
        load_coefficients(path)
    state = stored()
    save_file({**state, "mean": state["mean"] * torch.nan}, path, header())
    with pytest.raises(ValueError, match="mean holds NaN"):
        load_coefficients(path)
    save_file({key: tensor for key, tensor in state.items() if key != "heat.bias"}, path, header())
    with pytest.raises(ValueError, match="heat.bias is missing"):
        load_coefficients(path)
