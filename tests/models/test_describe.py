"""Counts against sums by hand."""

from contextlib import suppress
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import tests.models.tiny  # noqa: F401  (registers the network `tiny`)
from models import describe, registry
from models.contract import CropRule
from models.describe import main
from models.layers import ModulatedConv2d, SelfAttention, TransformerBlock
from models.meter import Meter


def counted(module: nn.Module, *inputs: Tensor) -> dict[str, int]:
    """Multiply-adds of each layer's own."""
    meter = Meter(module)
    with torch.no_grad(), meter.measuring("decode"):
        module(*inputs)
    return {layer.name: layer.macs["decode"] for layer in meter.layers() if layer.counts}


@pytest.mark.parametrize(
    ("layer", "shape", "macs"),
    [
        (nn.Conv2d(3, 8, 3, 2, 1), (1, 3, 16, 16), 8 * 8 * 8 * 3 * 9),
        (nn.Conv2d(8, 8, 3, padding=1, groups=4), (1, 8, 6, 6), 6 * 6 * 8 * 2 * 9),
        (nn.Conv2d(4, 6, (1, 3), bias=False), (1, 4, 5, 5), 5 * 3 * 6 * 4 * 3),
        (nn.ConvTranspose2d(8, 4, 4, 2, 1), (1, 8, 5, 5), 5 * 5 * 8 * 4 * 16),
        (nn.Conv3d(2, 3, 3), (1, 2, 5, 5, 5), 27 * 3 * 2 * 27),
        (nn.Linear(10, 5), (1, 7, 10), 7 * 10 * 5),
        (nn.Linear(10, 5, bias=False), (1, 10), 10 * 5),
    ],
    ids=str,
)
def test_a_layer(layer: nn.Module, shape: tuple[int, ...], macs: int) -> None:
    assert counted(layer, torch.rand(shape)) == {"": macs}


@pytest.mark.parametrize("device", ["cpu", "meta"])  # attention is one operation here, several there
def test_attention(device: str) -> None:
    rows, dim, heads = 10, 16, 4
    block = TransformerBlock(dim, heads).to(device)
    assert counted(block, torch.rand(1, rows, dim, device=device)) == {
        "": 2 * heads * rows * rows * (dim // heads),
        "norm1": 0,
        "qkv": rows * dim * 3 * dim,
        "proj": rows * dim * dim,
        "norm2": 0,
        "mlp.0": rows * dim * 4 * dim,
        "mlp.2": rows * dim * 4 * dim,
    }
    places = 6 * 6
    assert counted(SelfAttention(16).to(device), torch.rand(1, 16, 6, 6, device=device)) == {
        "": places * places * (2 + 8),  # keys of 2, values of 8
        "query": places * 16 * 2,
        "key": places * 16 * 2,
        "value": places * 16 * 8,
        "out": places * 8 * 16,
    }


def test_what_a_module_does_itself_is_told_from_what_its_parts_do() -> None:
    layer = ModulatedConv2d(4, 6, 3, style=5)
    convolution, demodulation, modulation = 7 * 7 * 4 * 6 * 9, 4 * 6, 5 * 4
    assert counted(layer, torch.rand(1, 4, 7, 7), torch.rand(1, 5)) == {
        "": convolution + demodulation,
        "modulation": modulation,
    }


def test_a_part_that_is_called_twice_counts_twice_and_its_parameters_once() -> None:
    shared = nn.Linear(3, 3)
    network = nn.Sequential(shared, nn.ReLU(), shared)
    network.add_module("tied", nn.Linear(3, 3))
    network.tied.weight = shared.weight
    meter = Meter(network)
    with torch.no_grad(), meter.measuring("decode"):
        network(torch.rand(1, 3))
    first, tied = (layer for layer in meter.layers() if layer.counts)
    assert (first.name, first.parameters, first.macs, first.outputs) == (
        "0",
        12,
        {"decode": 18},
        {"decode": [(1, 3)]},
    )
    assert (tied.name, tied.parameters, tied.macs) == ("tied", 3, {"decode": 9})


def test_a_network() -> None:
    found = describe.describe("tiny:wide")
    side, width = 32, 16
    assert found.parameters == sum(one.numel() for one in registry.make("tiny:wide").parameters())
    token = (side // 4) ** 2 * 3 * width * 16 + width * 4
    assert found.macs("structure") == token
    assert found.macs("appearance") == token + side**2 * 3 * width * 9
    assert found.macs("decode") == 4 * width + side**2 * width * 3
    assert found.structure_bytes == 4 * 4
    assert found.appearance_bytes == 4 * 4 + 4 * width * side**2
    by_name = {layer.name: layer for layer in found.layers}
    assert by_name["features"].outputs == {"appearance": [(1, width, side, side)]}
    assert "decode" not in by_name["features"].macs
    merged = found.merged(1)
    names = ["", "features", "token", "linear", "scale", "picture"]
    assert [layer.name for layer in merged.layers] == names
    token_layer = merged.layers[2]
    assert (token_layer.kind, token_layer.parameters) == ("Sequential", width * (3 * 16 + 1) + 2 * width)
    assert token_layer.outputs["structure"] == [(1, width, side // 4, side // 4)]
    assert (merged.parameters, merged.macs("structure")) == (found.parameters, token)


def test_measuring_leaves_no_trace() -> None:
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    describe.describe("tiny")
    assert torch.equal(torch.rand(1), expected)
    network = nn.Sequential(nn.Linear(3, 2))
    for shape in ((1, 3), (1, 4)):  # of which the second does not fit
        with suppress(RuntimeError), Meter(network).measuring("decode"):
            network(torch.rand(shape))
        assert not any(one._forward_hooks or one._forward_pre_hooks for one in network.modules())


@pytest.mark.parametrize(
    "rule",
    [
        CropRule(size=64, scale=2.0),
        CropRule(size=48, scale=1.3, upright=True),
        CropRule(size=64, scale=2.4, inside=True, min_scale=1.9),
    ],
)
def test_the_example_shows_a_face(rule: CropRule) -> None:
    seen = describe.example(rule)
    assert seen.image.shape == (1, 3, rule.size, rule.size)
    assert seen.points is not None
    assert 0 < float(seen.points[..., :2].min()) < float(seen.points[..., :2].max()) < 1
    assert float(seen.image.min()) >= 0
    assert float(seen.image.max()) <= 1
    frame = seen.points[0, :, :2] @ seen.to_frame[0, :, :2].T + seen.to_frame[0, :, 2]
    assert float(frame[:, 0].max() - frame[:, 0].min()) == pytest.approx(describe.FACE, abs=1)


def test_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tiny:wide"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].split() == [
        "layer",
        "kind",
        "output",
        "parameters",
        *["MACs", "appearance", "MACs", "structure", "MACs", "decode"],
    ]
    assert said[2].split() == ["features", "Conv2d", "1×16×32×32", "448", "442,368", "–", "–"]
    assert "tiny:wide" in said[-4]
    assert said[-2:] == [
        "appearance code: 65,552 bytes, once a portrait",
        "structure code: 16 bytes, every frame",
    ]
    assert main(["tiny:wide", "--depth", "1"]) == 0
    shorter = capsys.readouterr().out.splitlines()
    assert shorter[-4].split() == said[-4].split()
    assert len(shorter) < len(said)
    assert main(["nonesuch"]) == 2
    assert capsys.readouterr().err.startswith("python -m models.describe: unknown model 'nonesuch'; known: ")


def test_a_list_gives_what_its_members_give() -> None:
    network = nn.Module()
    network.each = nn.ModuleList([nn.Linear(3, 2), nn.Sequential(nn.Linear(2, 5))])
    network.forward = lambda x: network.each[1][0](network.each[0](x))  # type: ignore[method-assign]
    meter = Meter(network)
    with torch.no_grad(), meter.measuring("decode"):
        network(torch.rand(1, 3))
    by_name = {layer.name: layer for layer in meter.layers()}
    assert by_name["each"].outputs == {"decode": [(1, 2), (1, 5)]}
    assert by_name["each.1"].outputs == {"decode": [(1, 5)]}


def test_a_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "page.md"
    lines = ["Before", "<!-- models.describe tiny:wide -->", "| seen | `features` |", "<!-- end -->", "after"]
    page.write_text("\n".join(lines))
    for _ in range(2):  # the second time there is nothing to do
        assert main(["--page", str(page)]) == 0
        before, block, _, head, _, row, rest, whole, *codes, end, after = page.read_text().splitlines()
        assert (before, block, end, after) == (lines[0], lines[1], *lines[3:])
        assert head.startswith("| part | module | output | parameters |")
        assert row == "| seen | `features` | 16×32×32 | 448 | 0.000 | – |"
        parameters = describe.describe("tiny:wide").parameters
        assert rest.startswith(f"| the rest | | – | {parameters - 448:,} |")
        assert whole.startswith(f"| **tiny:wide** | | | **{parameters:,}** |")
        assert codes[1].startswith("Appearance code, 65,552 bytes: `structure.token` 4")
    page.write_text("\n".join(lines).replace("features", "nonesuch"))
    assert main(["--page", str(page)]) == 2
    said = capsys.readouterr().err
    assert said == "python -m models.describe: tiny:wide has no module 'nonesuch'\n"
    assert main(["--page", str(tmp_path / "none.md")]) == 2
    with pytest.raises(SystemExit, match="2"):
        main([])


def test_the_generator_without_weights_can_be_described() -> None:
    pytest.importorskip("scipy")
    found = describe.describe("warp")
    assert found.parameters == 0
    assert found.macs("decode") > 0
