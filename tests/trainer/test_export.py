"""Exported graphs, run by ONNX Runtime as a stranger would: with what `spec.json` tells and nothing else."""

import hashlib
import json
import math
import pickle
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from models import weights
from models.contract import Controls, CropRule, Observation, cat_codes, map_code
from models.describe import example, named
from models.layers import flow_warp
from tests.models.test_contract import NARROW, narrow
from tests.models.tiny import Tiny, TinyAppearance, TinyStructure
from tests.trainer.runs import TINY, run_of, state_of
from trainer.export import export, main
from trainer.graphs import graphs_of, traced
from trainer.serving_picture import SHOWN, serving_picture
from trainer.trained import Training, checkpoint_at, generator_of
from trainer.trial import Session, decibels, difference, scene

PROGRAM = "python -m trainer.export: "
QUICK = ("tiny", "sliders", "landmark_gan")  # torch takes minutes to trace the others
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
            controls = Controls.default(
                batch, eyes=0.5, gain_pose=1.5, gain_expression=0.7, turn=-1.0, jaw=0.4
            )
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
    assert page["training"] is None
    assert {path.name for path in folder.iterdir()} == {
        "spec.json",
        *page["files"],
        *(one["file"] for one in page["graphs"].values()),
    }


def test_the_files_are_those_that_the_page_tells_of(exported: Any) -> None:
    folder = exported("tiny")
    page = Stranger(folder).page
    assert page["opset"] == 20
    assert page["files"] == {
        name: hashlib.sha256((folder / name).read_bytes()).hexdigest()
        for name in ("weights.safetensors", "picture.png")
    }
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


@pytest.mark.parametrize("model", TINY)
def test_a_checkpoint_becomes_a_serving_directory(
    exported_run: Callable[[str], Path], tmp_path: Path, model: str
) -> None:
    """With the running mean of its generator."""
    folder = exported_run(model)
    stranger, network = Stranger(folder), weights.load(folder / "weights.safetensors", model).eval()
    state = state_of(model)
    assert all(torch.equal(tensor, state["ema"][key]) for key, tensor in network.state_dict().items())
    page = stranger.page
    assert page["training"] == {"recipe": model.partition(":")[0], "step": 12, "pictures": 192}
    assert page["untrained"] is False
    assert (page["spec"]["name"], page["spec"]["size"]) == tuple(model.split(":"))
    assert set(stranger.graphs) == set(graphs_of(network))
    true = scene(network, 2, seed=7)
    for graph, gives in (("structure", "structure"), ("transfer", "moved")):
        assert_same(stranger.run(graph, **true), gives, true[gives])
    drawn = stranger.run("decode", **true)
    assert difference(drawn["rgb"], true["rgb"]) <= 1e-4


def test_the_picture_shows_what_the_graphs_draw(exported_run: Callable[[str], Path]) -> None:
    """Other weights, another third column, and nothing else."""
    model = "landmark_gan:tiny"
    folder = exported_run(model)
    page = np.asarray(Image.open(folder / "picture.png").convert("RGB")).astype(int)
    sessions = {name: Session(folder / f"{name}.onnx") for name in graphs_of(weights.seeded(model))}
    network = weights.load(folder / "weights.safetensors").eval()
    assert np.array_equal(serving_picture(network, sessions), page)

    class Inverted(Session):
        def __call__(self, known: Mapping[str, Tensor]) -> dict[str, Tensor]:
            return {name: 1 - tensor for name, tensor in super().__call__(known).items()}

    sessions["decode"] = Inverted(folder / "decode.onnx")
    changed = (serving_picture(network, sessions) != page).any((0, 2))
    first = int(changed.argmax())
    assert 0.6 < first / len(changed) < 0.75
    assert changed[first : first + SHOWN].mean() > 0.9
    assert not changed[first + SHOWN :].any()


def test_a_runs_folder_means_its_best(tmp_path: Path) -> None:
    run = run_of("landmark_gan:tiny", tmp_path / "run", steps=(7, 100_000_012, 90))
    checkpoints = run / "checkpoints"
    (checkpoints / ".step-200000000.pt.77.part").touch()
    assert checkpoint_at(run) == checkpoints / "step-100000012.pt"
    (checkpoints / "step-00000007.pt").rename(checkpoints / "best.pt")
    assert checkpoint_at(run) == checkpoints / "best.pt"
    assert checkpoint_at(checkpoints / "step-00000090.pt") == checkpoints / "step-00000090.pt"
    assert generator_of(checkpoint_at(run))[1] == Training("landmark_gan", 7, 112)


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


class Bomb:
    """Pickled, it asks for a call."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.trace,)


def test_what_is_no_whole_checkpoint_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, file, new = "landmark_gan:tiny", tmp_path / "odd.pt", tmp_path / "new"
    whole = state_of(model)
    key, tensor = next(iter(whole["ema"].items()))

    def told(state: Any, *arguments: str | Path) -> str:
        torch.save(state, file)
        said = refused(capsys, *(arguments or (file,)), "--output", new)
        assert said.startswith(f"{file}: ")
        return said.removeprefix(f"{file}: ")

    assert "no checkpoint" in refused(capsys, tmp_path, "--output", new)
    assert "there is no such file" in refused(capsys, file, "--output", new)
    assert "it holds a list" in told([1, 2])
    for missing in ("recipe", "model", "step", "pictures", "ema"):
        assert repr(missing) in told({name: part for name, part in whole.items() if name != missing})
    assert "'step'" in told(whole | {"step": "12"})
    assert "unknown size 'huge'" in told(whole | {"model": "landmark_gan:huge"})
    assert "unknown model 'nonesuch'" in told(whole | {"model": "nonesuch"})
    assert f"{key} is missing" in told(whole | {"ema": {k: v for k, v in whole["ema"].items() if k != key}})
    assert "more.weight is unexpected" in told(whole | {"ema": whole["ema"] | {"more.weight": tensor}})
    assert f"{key} is a int" in told(whole | {"ema": whole["ema"] | {key: 5}})
    assert "expects 8×71×3×3" in told(whole | {"ema": whole["ema"] | {key: tensor[:1]}})
    assert "expects 8×71×3×3 float32" in told(whole | {"ema": whole["ema"] | {key: tensor.half()}})
    assert "NaN" in told(whole | {"ema": whole["ema"] | {key: tensor * math.nan}})
    other = told(whole, "imf", "--weights", file)
    assert other == "weights of model landmark_gan:tiny; expected those of imf"
    assert "expected those of landmark_gan:64" in told(whole, "landmark_gan:64", "--weights", file)
    data = file.read_bytes()
    for length in (0, 100, len(data) // 2, len(data) - 10):
        file.write_bytes(data[:length])
        assert str(file) in refused(capsys, file, "--output", new)
    trace = tmp_path / "trace"
    told(whole | {"ema": Bomb(trace)})
    file.write_bytes(pickle.dumps(Bomb(trace)))
    refused(capsys, file, "--output", new)
    assert sorted(tmp_path.iterdir()) == [file]


def test_a_checkpoint_has_its_own_weights(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = run_of("landmark_gan:tiny", tmp_path / "run")
    said = refused(capsys, run, "--weights", "random", "--output", tmp_path / "new")
    assert said == f"{run} is a checkpoint, with its weights: leave --weights out"


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
