import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from models.identity_embedder import IdentityEmbedder
from trainer.metrics.availability import (
    NEEDS,
    Features,
    NotAvailable,
    load_csim_embedder,
    load_features,
    load_lpips_alex,
)
from trainer.metrics.distributions import frechet
from trainer.metrics.lpips import CHANNELS, LpipsAlex


def weights() -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """AlexNet as torchvision's file has it, with its classifier, and the authors' linear weights."""
    torch.manual_seed(0)
    alexnet = {
        **{key: tensor for key, tensor in LpipsAlex().state_dict().items() if key.startswith("features.")},
        "classifier.1.weight": torch.zeros(2, 2),
    }
    lins = {f"lin{i}.model.1.weight": torch.rand(1, count, 1, 1) for i, count in enumerate(CHANNELS)}
    return alexnet, lins


@pytest.mark.parametrize("metric", NEEDS)
def test_what_is_not_there_says_so(metric: str) -> None:
    assert str(NotAvailable(metric)).startswith("not available: give PATH (")


def test_nothing_is_made_up() -> None:
    assert load_lpips_alex(None) == NotAvailable("lpips_alex")
    assert load_csim_embedder(None) == NotAvailable("csim_synthetic")
    for metric in ("fid_inception", "fvd_i3d", "aced_l1", "csim"):
        assert load_features(metric, None) == NotAvailable(metric)


def test_lpips_of_two_files(tmp_path: Path) -> None:
    alexnet, lins = weights()
    torch.save(alexnet, tmp_path / "alexnet.pth")
    torch.save(lins, tmp_path / "alex.pth")
    network = load_lpips_alex([tmp_path / "alexnet.pth", tmp_path / "alex.pth"])
    assert isinstance(network, LpipsAlex)
    torch.testing.assert_close(network.features[3].weight, alexnet["features.3.weight"], atol=0, rtol=0)
    torch.testing.assert_close(network.lins[2], lins["lin2.model.1.weight"].flatten(), atol=0, rtol=0)
    assert not any(parameter.requires_grad for parameter in network.parameters())
    save_file({**alexnet, **lins}, tmp_path / "both.safetensors")
    again = load_lpips_alex([tmp_path / "both.safetensors"])
    assert isinstance(again, LpipsAlex)
    x, y = torch.rand(2, 1, 3, 40, 40)
    assert float(again(x, y)) == float(network(x, y)) > 0


def test_lpips_of_half_a_file(tmp_path: Path) -> None:
    alexnet, lins = weights()
    path = tmp_path / "half.pth"
    torch.save(alexnet, path)
    with pytest.raises(ValueError, match=r"half\.pth: lin0\.model\.1\.weight is missing"):
        load_lpips_alex([path])
    torch.save(lins, path)
    with pytest.raises(ValueError, match=r"features\.0\.weight and 9 more are missing"):
        load_lpips_alex([path])
    torch.save({**alexnet, **lins, "lin1.model.1.weight": torch.rand(1, 5, 1, 1)}, path)
    with pytest.raises(ValueError, match=r"lins\.1 is 5 float32"):
        load_lpips_alex([path])


def test_an_identity_embedder(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = IdentityEmbedder()
    path = tmp_path / "embedder.safetensors"
    save_file({k: v.contiguous() for k, v in network.state_dict().items()}, path)
    found = load_csim_embedder(path)
    assert isinstance(found, IdentityEmbedder)
    assert not found.training
    x = torch.rand(1, 3, 96, 96)
    torch.testing.assert_close(found(x), network.eval()(x).detach())
    save_file({"vector.weight": torch.zeros(1)}, path)
    with pytest.raises(ValueError, match=r"embedder\.safetensors: .* missing; IdentityEmbedder expects"):
        load_csim_embedder(path)


def test_features_for_frechet(tmp_path: Path) -> None:
    path = tmp_path / "fid.safetensors"
    drawn, truth = torch.randn(5, 2048), torch.randn(6, 2048)
    save_file({"drawn": drawn, "truth": truth}, path)
    found = load_features("fid_inception", path)
    assert isinstance(found, Features)
    assert frechet(*found) == frechet(drawn, truth)
    assert frechet(*found)[1:] == (5, 6)


@pytest.mark.parametrize(
    ("metric", "tensors", "said"),
    [
        ("fid_inception", {"drawn": torch.zeros(5, 2048)}, "truth is missing"),
        ("fid_inception", {"drawn": torch.zeros(5, 512), "truth": torch.zeros(5, 512)}, "n×2048"),
        ("fvd_i3d", {"drawn": torch.zeros(400), "truth": torch.zeros(400)}, "n×400"),
        ("csim", {"drawn": torch.zeros(5, 8), "truth": torch.zeros(4, 8)}, "n×D"),
        ("aced_l1", {"drawn": torch.zeros(5, 8), "truth": torch.zeros(5, 7)}, "n×D"),
        ("csim", {"drawn": torch.full((5, 8), math.nan), "truth": torch.zeros(5, 8)}, "NaN"),
    ],
)
def test_features_that_do_not_fit(tmp_path: Path, metric: str, tensors: dict[str, Tensor], said: str) -> None:
    torch.save(tensors, tmp_path / "features.pt")
    with pytest.raises(ValueError, match=rf"features\.pt: .*{said}"):
        load_features(metric, tmp_path / "features.pt")


@pytest.mark.parametrize("name", ["none.pth", "none.safetensors"])
def test_a_file_that_is_not_there(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match=rf"{name}: "):
        load_features("csim", tmp_path / name)


def test_a_metric_that_is_not_known() -> None:
    with pytest.raises(ValueError, match="known: fid_inception, fvd_i3d"):
        load_features("psnr", None)


def test_a_file_of_something_else(tmp_path: Path) -> None:
    path = tmp_path / "page.safetensors"
    path.write_text("<html>")
    with pytest.raises(ValueError, match="page"):
        load_csim_embedder(path)
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(ValueError, match=r"list\.pt: the file holds no table of names"):
        load_csim_embedder(tmp_path / "list.pt")
