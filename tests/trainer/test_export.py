"""Exported graphs, run by ONNX Runtime as a stranger would: with what `spec.json` tells and nothing else."""

import hashlib
import json
import math
import sys
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from models import weights
from models.contract import Controls, CropRule, Observation, cat_codes, map_code
from models.describe import example, named
from models.layers import flow_warp
from tests.models.test_contract import NARROW, narrow
from tests.models.tiny import Tiny, TinyAppearance, TinyStructure
from trainer.export import export, main
from trainer.graphs import graphs_of, traced
from trainer.trial import decibels, difference, scene

PROGRAM = "python -m trainer.export: "
QUICK = ("tiny", "landmark_gan")  # torch takes minutes to trace the others
EVERY = [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in NARROW]
FRAME = ("structure", "transfer", "decode")


class Stranger:
    """Has a folder and ONNX Runtime."""

    def __init__(self, folder: Path) -> None:
        self.page = json.loads((folder / "spec.json").read_text(encoding="utf-8"))
        self.graphs = self.page["graphs"]
        self.sessions = {
            name: onnxruntime.InferenceSession(folder / told["file"], providers=["CPUExecutionProvider"])
            for name, told in self.graphs.items()
        }

    def run(self, graph: str, **codes: Any) -> dict[str, Tensor]:
        """codes: what the graph takes, by name, and more."""
        known = {name: tensor for key, code in codes.items() for name, tensor in named(key, code)}
        return self.run_named(graph, known)

    def run_named(self, graph: str, known: dict[str, Tensor]) -> dict[str, Tensor]:
        told = self.graphs[graph]
        feed = {one["name"]: known[one["name"]].to(getattr(torch, one["dtype"])) for one in told["inputs"]}
        found = self.sessions[graph].run(None, {name: tensor.numpy() for name, tensor in feed.items()})
        given = {}
        for one, array in zip(told["outputs"], found, strict=True):
            given[one["name"]] = torch.from_numpy(array)
            assert str(array.dtype) == one["dtype"]
            assert array.shape[1:] == tuple(one["shape"][1:])
        return given


def seen(rule: CropRule, count: int, seed: int) -> Observation:
    """Blotches, and faces that are not quite the mean one. What a rounded coordinate makes of white noise, or
    of lips that cross, would be no graph's fault."""
    dice = torch.Generator().manual_seed(100 + seed)
    one = map_code(lambda tensor: tensor.expand(count, *tensor.shape[1:]), example(rule))
    assert one.points is not None
    blotches = torch.rand(count, 3, rule.size // 4, rule.size // 4, generator=dice)
    return one._replace(
        image=F.interpolate(blotches, size=one.image.shape[2:], mode="bilinear"),
        points=one.points + 0.002 * torch.randn(one.points.shape, generator=dice),
        to_frame=one.to_frame * (1 + 0.1 * torch.rand(count, 1, 1, generator=dice)),
    )


def row(code: Any, index: int) -> Any:
    return map_code(lambda tensor: tensor[index : index + 1], code)


def assert_same(found: dict[str, Tensor], name: str, code: Any) -> None:
    expected = dict(named(name, code))
    assert list(found) == list(expected)
    for key, tensor in expected.items():
        assert difference(found[key], tensor) <= 1e-4, key


@pytest.mark.parametrize("name", EVERY)
def test_each_graph_says_what_torch_says(exported: Any, name: str) -> None:
    network, stranger = narrow(name).eval(), Stranger(exported(name))
    spec = network.spec
    with torch.inference_mode():
        for batch in (1, 2, 3):
            source, driving, rest = (
                seen(rule, batch, seed) for seed, rule in enumerate((spec.source, spec.driving, spec.driving))
            )
            if spec.appearance == "host":
                source = cat_codes([example(spec.source)] * batch)
            portraits = [network.encode_appearance([row(source, index)]) for index in range(batch)]
            appearance = cat_codes(portraits)
            if "appearance" not in stranger.graphs:
                assert spec.appearance == "host"
            elif spec.max_sources > 1:
                several = network.encode_appearance([row(source, index) for index in range(batch)])
                assert_same(stranger.run("appearance", source=source), "appearance", several)
            else:
                assert_same(stranger.run("appearance", source=source), "appearance", appearance)
            structure, codes = network.encode_structure(driving), network.encode_structure(rest)
            assert_same(stranger.run("structure", driving=driving), "structure", structure)
            neutral = network.neutral([row(codes, index) for index in range(batch)])
            assert_same(stranger.run("neutral", codes=codes), "neutral", neutral)
            controls = Controls.default(batch, eyes=0.5, gain_pose=1.5, gain_expression=0.7)
            controls = controls._replace(relative=torch.arange(batch).remainder(2).float())
            moved = network.transfer(structure, codes, appearance, controls)
            taken = {"structure": structure, "neutral": codes, "appearance": appearance}
            assert_same(stranger.run("transfer", controls=controls, **taken), "moved", moved)
            share = torch.linspace(0, 0.9, batch)
            blended = network.blend(structure, codes, share)
            assert_same(stranger.run("blend", a=structure, b=codes, t=share), "blended", blended)
            found = stranger.run("decode", appearance=appearance, moved=moved)
            for picture, expected in zip(("rgb", "alpha"), network.decode(appearance, moved), strict=True):
                assert difference(found[picture], expected) <= 1e-4


@pytest.mark.parametrize(
    "name", ["tiny", *[pytest.param(name, marks=pytest.mark.slow) for name in ("imf:light", "liveportrait")]]
)
def test_half_precision_is_as_good_as_a_picture_needs(exported: Any, name: str) -> None:
    """From pictures to a picture, by the names alone."""
    network, folder = narrow(name).eval(), exported(name, "fp16")
    stranger = Stranger(folder)
    source, driving = seen(network.spec.source, 1, 0), seen(network.spec.driving, 1, 1)
    rest, controls = seen(network.spec.driving, 1, 2), Controls.default()
    known = dict([*named("source", source), *named("controls", controls), *named("driving", rest)])
    known |= stranger.run_named("appearance", known)
    resting = stranger.run_named("structure", known)
    known |= {name.replace("structure.", "codes.", 1): tensor for name, tensor in resting.items()}
    known |= stranger.run_named("neutral", known) | dict(named("driving", driving))
    for graph in FRAME:
        known |= stranger.run_named(graph, known)
    with torch.inference_mode():
        appearance = network.encode_appearance([source])
        neutral = network.neutral([network.encode_structure(rest)])
        moved = network.transfer(network.encode_structure(driving), neutral, appearance, controls)
        rgb, alpha = network.decode(appearance, moved)
    assert decibels(known["rgb"], rgb) >= 40
    assert decibels(known["alpha"], alpha) >= 40
    assert stranger.page["precision"] == "fp16"
    weighty = [
        tensor for tensor in onnx.load(folder / "decode.onnx").graph.initializer if len(tensor.dims) == 4
    ]
    assert onnx.TensorProto.FLOAT16 in {tensor.data_type for tensor in weighty}
    # Pictures come and go in float32, and so do points.
    for graph in FRAME:
        told = stranger.graphs[graph]
        ends = told["outputs"] + [one for one in told["inputs"] if not one["name"].startswith("appearance.")]
        assert {one["dtype"] for one in ends} == {"float32"}


class Bent(Tiny):
    """Looks its features up by a flow."""

    def decode(self, appearance: TinyAppearance, structure: TinyStructure) -> tuple[Tensor, Tensor]:
        flow = structure.token[:, :2, None, None].expand(-1, -1, *appearance.features.shape[2:])
        return super().decode(appearance._replace(features=flow_warp(appearance.features, flow)), structure)


def test_grids_stay_float32_in_half_precision() -> None:
    network = Bent().eval()
    example, halves = scene(network, 3, seed=0), {"appearance.features": torch.float16}
    nodes = list(traced(network.half(), "decode", example, halves).model.graph)
    (looked_up,) = (node for node in nodes if node.op_type == "GridSample")
    assert [str(value.dtype) for value in looked_up.inputs] == ["FLOAT", "FLOAT"]
    assert looked_up.attributes["padding_mode"].value == "zeros", "the border is repeated otherwise"
    convolved = next(node for node in nodes if node.op_type == "Conv")
    assert str(convolved.inputs[1].dtype) == "FLOAT16"


def test_the_page_tells_what_a_server_has_to_know(exported: Any) -> None:
    folder = exported("tiny")
    page, spec = Stranger(folder).page, narrow("tiny").spec
    assert page["format"] == 1
    assert page["precision"] == "float32"
    assert page["weights"] == weights.digest(narrow("tiny").state_dict())
    assert page["untrained"] is False
    told = page["spec"]
    assert (told["name"], told["size"], told["max_sources"]) == ("tiny", "narrow", 3)
    assert told["reads"] == ["image"]
    assert told["appearance"] == "device"
    assert told["half"] is None
    assert tuple(told["controls"]) == spec.controls
    for side in ("source", "driving"):
        fields = told[side] | {key: tuple(told[side][key]) for key in ("shift", "anchors")}
        assert CropRule(**fields) == getattr(spec, side)
    token = {"dtype": "float32", "shape": ["batch", 4]}
    setting = {"dtype": "float32", "shape": ["batch"]}
    transfer = page["graphs"]["transfer"]
    assert transfer["inputs"] == [
        {"name": "structure.token", **token},
        {"name": "neutral.token", **token},
        {"name": "appearance.structure.token", **token},
        {"name": "controls.relative", **setting},
        {"name": "controls.gain_expression", **setting},
    ]
    assert transfer["outputs"] == [{"name": "moved.token", **token}]
    assert page["graphs"]["appearance"]["inputs"] == [
        {"name": "source.image", "dtype": "float32", "shape": ["sources", 3, 32, 32]}
    ]
    assert page["graphs"]["neutral"]["inputs"] == [{"name": "codes.token", **token, "shape": ["codes", 4]}]
    assert {path.name for path in folder.iterdir()} == {
        "spec.json",
        *(one["file"] for one in page["graphs"].values()),
    }


def test_the_files_are_those_that_the_page_tells_of(exported: Any) -> None:
    folder = exported("tiny")
    page = Stranger(folder).page
    assert page["opset"] == 20
    for told in page["graphs"].values():
        data = (folder / told["file"]).read_bytes()
        assert hashlib.sha256(data).hexdigest() == told["sha256"]
        assert b".py" not in data  # where on this machine the network's code lies
        model = onnx.load_from_string(data)
        onnx.checker.check_model(model, full_check=True)
        assert {one.domain: one.version for one in model.opset_import}[""] == 20


def test_what_a_network_does_not_read_is_no_input(exported: Any) -> None:
    graphs = Stranger(exported("landmark_gan")).graphs
    assert [one["name"] for one in graphs["structure"]["inputs"]] == ["driving.points", "driving.to_frame"]
    wishes = [one["name"] for one in graphs["transfer"]["inputs"] if one["name"].startswith("controls.")]
    assert {name.removeprefix("controls.") for name in wishes} == set(narrow("landmark_gan").spec.controls)


def test_a_portrait_that_is_prepared_on_the_host_has_no_graph() -> None:
    assert "appearance" not in graphs_of(narrow("warp"))
    assert "decode" in graphs_of(narrow("warp"))


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "deep" / "wide"
    folder.mkdir(parents=True)
    assert main(["tiny:wide", "--weights", "random", "--output", str(folder)]) == 0
    out, err = capsys.readouterr()
    assert err == f"{PROGRAM}warning: model tiny:wide has random weights: its picture is noise\n"
    assert [line.split(":")[0] for line in out.splitlines()[:-1]] == [
        f"{name}.onnx" for name in graphs_of(Tiny())
    ]
    page = Stranger(folder).page
    assert page["untrained"] is True
    assert page["spec"]["size"] == "wide"
    features = next(
        one for one in page["graphs"]["appearance"]["outputs"] if one["name"].endswith("features")
    )
    assert features["shape"][1:] == [16, 32, 32]
    assert [path.name for path in folder.parent.iterdir()] == ["wide"]


class Early(Tiny):
    """Is another network while it is exported, from the first graph on."""

    def encode_appearance(self, sources: Any) -> TinyAppearance:
        found = super().encode_appearance(sources)
        return found._replace(features=found.features * (1.01 if torch.compiler.is_exporting() else 1))


class Late(Tiny):
    """Likewise, in its last."""

    def decode(self, appearance: TinyAppearance, structure: TinyStructure) -> tuple[Tensor, Tensor]:
        rgb, alpha = super().decode(appearance, structure)
        return rgb * (0.9 if torch.compiler.is_exporting() else 1), alpha


def test_a_graph_that_differs_is_caught(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^appearance\.onnx.* appearance\.features .* 0\.01 of .* 0\.0001$"):
        list(export(Early(), tmp_path / "model"))
    assert not list(tmp_path.iterdir())


def test_a_picture_that_is_too_coarse_is_caught(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^decode\.onnx.* rgb is 2\d\.\d dB .* 40 dB$"):
        list(export(Late(), tmp_path / "model", "fp16"))
    assert not list(tmp_path.iterdir())


def refused(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    """What the command says in its one line."""
    assert main([str(argument) for argument in arguments]) == 2
    out, err = capsys.readouterr()
    assert not out
    assert err.startswith(PROGRAM)
    assert err.count("\n") == 1
    return err.removeprefix(PROGRAM).rstrip()


def test_what_cannot_be_exported_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    new = tmp_path / "new"
    assert "unknown model 'nonesuch'; known: dae_gan" in refused(capsys, "nonesuch", "--output", new)
    assert "unknown size 'huge'" in refused(capsys, "tiny:huge", "--output", new)
    assert "needs --weights FILE" in refused(capsys, "tiny", "--output", new)
    missing = refused(capsys, "tiny", "--weights", tmp_path / "none.safetensors", "--output", new)
    assert "there is no such file" in missing
    told = refused(capsys, "warp", "--precision", "fp16", "--output", new)
    assert told == "model warp runs in float32 only: leave --precision fp16 out"
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    full = tmp_path / "full"
    full.mkdir()
    (full / "photo.jpg").touch()
    arguments = ("tiny", "--weights", "random", "--output")
    assert "full is not empty" in refused(capsys, *arguments, full)
    assert "photo.jpg is a file" in refused(capsys, *arguments, full / "photo.jpg")
    assert [path.name for path in full.iterdir()] == ["photo.jpg"]


def test_a_place_without_permission_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(path: Path, *_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "mkdir", denied)
    assert main(["tiny", "--weights", "random", "--output", str(tmp_path / "new")]) == 2
    *_, last = capsys.readouterr().err.splitlines()
    assert last == f"{PROGRAM}{tmp_path}: Permission denied"


@pytest.mark.parametrize("module", ["onnx", "onnxscript"])
def test_the_extra_is_named_where_it_is_missing(
    module: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    told = refused(capsys, "tiny", "--weights", "random", "--output", tmp_path / "new")
    assert told.startswith(f"{module} is not installed")
    assert ".[train]" in told


def test_measures() -> None:
    ones = torch.ones(2, 2)
    assert difference(torch.tensor([4.0, 2.0]), torch.tensor([4.0, 1.0])) == 0.25
    assert difference(ones * math.nan, ones) == math.inf
    assert difference(ones[:1], ones) == math.inf
    assert decibels(ones - 0.1, ones) == pytest.approx(20, abs=1e-4)
    assert decibels(ones, ones) == math.inf
    assert decibels(ones * math.nan, ones) == -math.inf
