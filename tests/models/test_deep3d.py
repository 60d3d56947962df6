"""The public face model, without its public weights."""

from pathlib import Path
from typing import Any

import pytest
import torch

from models.coefficients import FaceModel
from models.deep3d import Deep3DFaceRecon, load_deep3d, reframed, split_257


@pytest.fixture(scope="module")
def network() -> Deep3DFaceRecon:
    torch.manual_seed(0)
    return Deep3DFaceRecon().eval()


def test_where_each_of_257_is() -> None:
    parts = split_257(torch.arange(257.0)[None])
    assert {name: (part[0, 0].item(), part[0, -1].item()) for name, part in parts._asdict().items()} == {
        "id": (0, 79),
        "exp": (80, 143),
        "tex": (144, 223),
        "angle": (224, 226),
        "light": (227, 253),
        "trans": (254, 256),
    }
    with pytest.raises(ValueError, match="256 coefficients; expected 257"):
        split_257(torch.zeros(1, 256))


def test_halves_are_id_and_tex_and_exp_and_angle(network: Deep3DFaceRecon) -> None:
    model: FaceModel = network
    picture = torch.rand(1, 3, 64, 64, requires_grad=True)
    found = model.coefficients(picture)
    assert found.appearance.shape == (1, len(model.appearance_names)) == (1, 160)
    assert found.structure.shape == (1, len(model.structure_names)) == (1, 67)
    parts = split_257(network(reframed(picture)))
    assert torch.equal(found.appearance, torch.cat((parts.id, parts.tex), 1))
    assert torch.equal(found.structure[:, :64], parts.exp)
    assert torch.allclose(found.structure[:, 64:] * 0.3, parts.angle)
    torch.autograd.backward(found.structure.sum())
    assert picture.grad is not None
    assert float(picture.grad.abs().sum()) > 0


def test_eyes_and_mouth_of_ffhq_come_to_where_the_network_learnt_them() -> None:
    """In FFHQ's square of side 4 × the eyes' distance, about a point a tenth of the way to the mouth."""
    size, unit = 496, 200.0  # pixels a side, which is 2.48 dm, and a dm
    picture = torch.zeros(1, 3, size, size)
    for channel, (x, y) in enumerate(((-0.31, 0.0), (0.31, 0.0), (0.0, 0.67))):  # down from the eyes, dm
        column, row = size / 2 + x * unit, size / 2 + (y - 0.067) * unit
        picture[0, channel, round(row) - 4 : round(row) + 4, round(column) - 4 : round(column) + 4] = 1
    found = reframed(picture)[0]
    line = torch.arange(224) + 0.5
    places = [
        (
            float((one.sum(0) * line).sum() / one.sum()),
            float((one.sum(1) * line).sum() / one.sum()),
        )
        for one in found
    ]
    truth = [(112 + 102 * x, 112 - 102 * y) for x, y in ((-0.31, 0.29), (0.31, 0.29), (0.0, -0.38))]
    for place, expected in zip(places, truth, strict=True):
        assert place == pytest.approx(expected, abs=0.7)


def test_a_checkpoint_of_that_shape_is_read(network: Deep3DFaceRecon, tmp_path: Path) -> None:
    path = tmp_path / "epoch_20.pth"
    torch.save({"net_recon": network.state_dict(), "opt_00": {"state": {}}}, path)
    again = load_deep3d(path)
    keys = set(network.state_dict())
    assert {"backbone.conv1.weight", "backbone.layer1.0.downsample.1.running_mean"} <= keys
    assert {"backbone.layer4.2.bn3.bias", "final_layers.6.bias"} <= keys
    assert len(keys) == 318 + 14  # ResNet-50's 320 less its classifier's two, and seven layers' two each
    picture = torch.rand(1, 3, 64, 64)
    assert torch.equal(again.coefficients(picture).structure, network.coefficients(picture).structure)
    assert not any(parameter.requires_grad for parameter in again.parameters())


def test_other_files_are_refused(network: Deep3DFaceRecon, tmp_path: Path) -> None:
    path = tmp_path / "epoch_20.pth"
    state = network.state_dict()
    for held, said in (
        ({"net": state}, "net_recon is missing"),
        ({"net_recon": 7}, "net_recon holds no table of names"),
        ({"net_recon": {**state, "final_layers.1.weight": torch.zeros(80, 2048, 1, 1)}}, "final_layers.1.we"),
        ({"net_recon": {**state, "fc.weight": torch.zeros(1)}}, "fc.weight is unexpected"),
        ({"net_recon": {**state, "backbone.bn1.bias": torch.full((64,), torch.inf)}}, "backbone.bn1.bias ho"),
    ):
        torch.save(held, path)
        with pytest.raises(ValueError, match=f"^{path}: [^\n]*{said}[^\n]*$"):
            load_deep3d(path)


class Trap:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def test_nothing_of_a_checkpoint_is_run(tmp_path: Path) -> None:
    torch.save({"net_recon": Trap(tmp_path / "sprung")}, tmp_path / "epoch_20.pth")
    with pytest.raises(ValueError, match="nothing of it was run"):
        load_deep3d(tmp_path / "epoch_20.pth")
    assert not (tmp_path / "sprung").exists()
