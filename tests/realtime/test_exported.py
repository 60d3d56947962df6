"""Exported generators behind the contract: they say what torch says, and no more code is loaded."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch

from models.contract import Controls, Reenactor, map_code
from models.describe import example, named
from models.observation import observe
from models.portrait_face import portrait_face
from realtime import exported as module
from realtime.avatar import Avatar
from realtime.devices import choose_half
from realtime.engine import Engine, Request
from realtime.export_page import GIVES, NAME
from realtime.exported import load
from realtime.generators import device_of, make_generator
from realtime.onnx_graph import CPU, CUDA, Graph
from tests.material import ASTRONAUT, GRID_CLIP, MONA_LISA, frames, picture
from tests.models.test_contract import NARROW, narrow
from trainer.trial import difference, scene

ROOT = Path(__file__).parents[2]
QUICK = ("tiny", "sliders", "landmark_gan")  # torch takes minutes to trace the others
EVERY = [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in NARROW]

Exports = Callable[..., Path]


def assert_same(found: Any, expected: Any) -> None:
    """Codes or pictures, to 1e-4 of each tensor's largest number."""
    tensors = dict(named("code", expected))
    there = dict(named("code", found))
    assert list(there) == list(tensors)
    for name, tensor in tensors.items():
        assert difference(there[name], tensor) <= 1e-4, name


def row(code: Any, index: int) -> Any:
    return map_code(lambda tensor: tensor[index : index + 1], code)


@pytest.mark.parametrize("name", EVERY)
def test_all_six_calls_say_what_torch_says(exported: Exports, name: str) -> None:
    network, found = narrow(name).eval(), load(exported(name))
    assert isinstance(found, Reenactor)
    assert found.spec == replace(network.spec, half=None)
    assert not list(found.parameters())
    for batch in (1, 3, 1):
        true = scene(network, batch, seed=10 + batch)
        pictures = [
            row(true["source"], index)._replace(valid=torch.ones(1, dtype=torch.bool))
            for index in range(len(true["source"].image))
        ]
        several = pictures[: network.spec.max_sources]
        with torch.inference_mode():
            assert_same(found.encode_appearance(several), network.encode_appearance(several))
            assert_same(found.encode_structure(true["driving"]), true["structure"])
            rest = [row(true["codes"], index) for index in range(batch)]
            assert_same(found.neutral(rest), network.neutral(rest))
            taken = (true["structure"], true["neutral"], true["appearance"], true["controls"])
            assert_same(found.transfer(*taken), true["moved"])
            assert_same(found.blend(true["a"], true["b"], true["t"]), true["blended"])
            for drawn, expected in zip(
                found.decode(true["appearance"], true["moved"]), (true["rgb"], true["alpha"]), strict=True
            ):
                assert_same(drawn, expected)


def test_codes_stay_and_pictures_do_not(exported: Exports) -> None:
    found = load(exported("tiny"))
    one, other = (scene(narrow("tiny").eval(), 1, seed) for seed in (1, 2))
    first = found.encode_structure(one["driving"])
    kept = first.token.clone()
    assert not torch.equal(found.encode_structure(other["driving"]).token, kept)
    assert torch.equal(first.token, kept)
    shown, _ = found.decode(one["appearance"], one["moved"])
    before = shown.clone()
    again, _ = found.decode(other["appearance"], other["moved"])
    assert again.data_ptr() == shown.data_ptr()
    assert not torch.equal(shown, before)


def test_codes_are_named_as_the_networks_own(exported: Exports) -> None:
    network, found = narrow("landmark_gan").eval(), load(exported("landmark_gan"))
    source, driving = example(network.spec.source), example(network.spec.driving)
    own, code = network.encode_appearance([source]), found.encode_appearance([source])
    assert code._fields == own._fields
    assert code.structure._fields == own.structure._fields
    structure = found.encode_structure(driving)
    assert type(structure) is type(code.structure) is type(found.neutral([structure]))


def test_what_no_portrait_can_be_made_of(exported: Exports) -> None:
    tiny, landmarks = load(exported("tiny")), load(exported("landmark_gan"))
    source = example(tiny.spec.source)
    for count in (0, 4):
        with pytest.raises(ValueError, match=f"^tiny takes 1 to 3 source pictures, not {count}$"):
            tiny.encode_appearance([source] * count)
    source = example(landmarks.spec.source)
    with pytest.raises(ValueError, match="^landmark_gan takes one source picture, not 2$"):
        landmarks.encode_appearance([source, source])
    for blind in (source._replace(points=None), source._replace(valid=torch.tensor([False]))):
        with pytest.raises(ValueError, match="^landmark_gan needs a source picture with a face in it$"):
            landmarks.encode_appearance([blind])
    with pytest.raises(ValueError, match="at least one code"):
        tiny.neutral([])


# -- through the engine -----------------------------------------------------------------------------------


def film(network: Reenactor[Any, Any]) -> list[np.ndarray]:
    """Two sessions in one batch: they calibrate, one loses the face, is eased, and finds it again."""
    spec = network.spec
    engine = Engine(network)
    avatars = []
    for path in (MONA_LISA, ASTRONAUT):
        source = picture(path)
        seen = observe(source, portrait_face(source).points, spec.source)
        avatars.append(Avatar(engine.portrait(source, [seen])))
    driving = [
        observe(frame, portrait_face(frame).points, spec.driving)
        for frame in frames(GRID_CLIP, most=30)[::10]
    ]
    lost = [one._replace(valid=torch.tensor([False])) for one in driving]
    shown = []
    for time_s, (one, other) in enumerate(
        [(driving[0], driving[1]), (driving[1], lost[1]), (driving[2], lost[0]), (driving[0], driving[2])]
    ):
        requests = [
            Request(avatar, seen, time_s * 0.4) for avatar, seen in zip(avatars, (one, other), strict=True)
        ]
        shown += [rendered.picture for rendered in engine.draw(requests)]
    return [*shown, engine.render(avatars[1], driving[0], 2.0).picture]


@pytest.mark.parametrize("name", ["landmark_gan", pytest.param("warp", marks=pytest.mark.slow)])
def test_the_engine_draws_the_same_avatars(exported: Exports, name: str) -> None:
    found = film(make_generator(str(exported(name))))
    expected = film(narrow(name))
    assert len(found) == 9
    for drawn, true in zip(found, expected, strict=True):
        assert drawn.shape == true.shape
        assert np.abs(drawn.astype(int) - true).max() <= 1
    assert np.abs(found[0].astype(int) - found[4]).max() > 10, "the avatar moves"


# In a process of its own: what is loaded to show a frame of the folder that is its argument.
FRAME = """
import sys, torch
from pathlib import Path
import numpy as np
from models.describe import example
from realtime.avatar import Avatar
from realtime.engine import Engine
from realtime.generators import make_generator

assert "onnxruntime" not in sys.modules
network = make_generator(sys.argv[1])
engine = Engine(network)
picture = np.zeros((512, 512, 3), np.uint8)
avatar = Avatar(engine.portrait(picture, [example(network.spec.source)]))
for time_s in (0.0, 0.1):
    shown = engine.render(avatar, example(network.spec.driving), time_s).picture
assert shown.any()
print(*sorted(name for name in sys.modules if name.partition(".")[0] in ("models", "trainer")))
"""
KNOWN = {"contract", "describe", "face_geometry", "face_tracker", "meter", "observation", "portrait_face"}
KNOWN |= {"directions", "registry", "weights"}


@pytest.mark.parametrize(
    ("name", "more"), [("landmark_gan", set()), pytest.param("warp", {"warp"}, marks=pytest.mark.slow)]
)
def test_no_code_of_networks_is_loaded(exported: Exports, name: str, more: set[str]) -> None:
    command = [sys.executable, "-c", FRAME, str(exported(name))]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert ended.returncode == 0, ended.stderr
    loaded = {name.split(".")[1] for name in ended.stdout.split() if name.startswith("models.")}
    assert {"contract", *more} <= loaded <= KNOWN | more
    assert "trainer" not in ended.stdout


# -- devices ----------------------------------------------------------------------------------------------


def test_without_a_provider_the_cpu_is_used(
    exported: Exports, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CPU])
    network = make_generator(str(exported("tiny")), device="cuda")
    assert device_of(network, "cuda") == "cpu"
    (told,) = caplog.messages
    assert "no provider for cuda here, and the CPU is used: pip install onnxruntime-gpu" in told
    structure = network.encode_structure(example(network.spec.driving))
    assert structure.token.device.type == "cpu"


def test_a_provider_that_does_not_start_is_told_once(
    exported: Exports, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """ONNX Runtime then makes sessions on the CPU, and says nothing that can be asked for but in their
    providers."""
    session = onnxruntime.InferenceSession

    def opened(path: Path, options: Any, providers: list[Any]) -> Any:
        return session(path, options, providers=[CPU])

    class Cuda:
        class Stream:
            device, cuda_stream = torch.device("cuda", 0), 1

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA, CPU])
    monkeypatch.setattr(onnxruntime, "InferenceSession", opened)
    network = load(exported("tiny"), "cuda", Cuda)
    assert network.device == "cpu"
    (told,) = caplog.messages
    assert "could not start its CUDA provider, and the CPU is used: pip install" in told
    assert network.encode_structure(example(network.spec.driving)).token.isfinite().all()


def test_on_cuda_what_every_frame_needs_is_recorded(
    exported: Exports, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = {}

    class Recorded(Graph):
        def __init__(
            self, path: Path, takes: Any, gives: Any, stream: Any, recorded: bool, cuda: Any
        ) -> None:
            super().__init__(path, takes, gives)
            asked[path.stem] = (stream, recorded, cuda)
            self.on_cuda = True

    class Cuda:
        Stream = object

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA, CPU])
    monkeypatch.setattr(module, "Graph", Recorded)
    assert load(exported("tiny"), "cuda", Cuda).device == "cuda"
    assert {name for name, (_, recorded, _) in asked.items() if recorded} == {
        "structure", "transfer", "blend", "decode",
    }  # fmt: skip
    assert len({id(stream) for stream, _, _ in asked.values()}) == 1
    assert asked.keys() == GIVES.keys()


def test_half_precision_is_the_exports_own_matter(exported: Exports) -> None:
    spec = load(exported("tiny")).spec
    assert choose_half("auto", spec, "cuda") is None
    assert spec.half is None


# -- portraits prepared on the host -----------------------------------------------------------------------


def on_host(exported: Exports, folder: Path, **wishes: Any) -> Path:
    """The tiny network's folder as of one that prepares portraits on the host. wishes: fields of its spec."""
    folder = shutil.copytree(exported("tiny"), folder)
    page = json.loads((folder / NAME).read_text())
    page["spec"] |= {"appearance": "host", **wishes}
    del page["graphs"]["appearance"]
    (folder / NAME).write_text(json.dumps(page))
    return folder


def test_portraits_may_be_prepared_by_the_networks_own_code(exported: Exports, tmp_path: Path) -> None:
    found = load(on_host(exported, tmp_path / "model")).requires_grad_(False)
    driving = example(found.spec.driving)
    appearance = found.encode_appearance([example(found.spec.source)])
    structure = found.encode_structure(driving)
    moved = found.transfer(structure, structure, appearance, Controls.default())
    assert_same(moved.token, appearance.structure.token)
    assert found.decode(appearance, moved)[0].shape == (1, 3, 32, 32)


def test_code_that_prepares_portraits_otherwise_is_told(exported: Exports, tmp_path: Path) -> None:
    wide = load(on_host(exported, tmp_path / "wide", size="wide"))
    with pytest.raises(ValueError, match=r"^this program's tiny prepares .*, appearance\.features: "):
        wide.encode_appearance([example(wide.spec.source)])
    crop = json.loads((exported("tiny") / NAME).read_text())["spec"]["source"] | {"scale": 2.0}
    with pytest.raises(ValueError, match=r"crop: this program's tiny .*: it wants another crop; "):
        load(on_host(exported, tmp_path / "crop", source=crop))
    with pytest.raises(ValueError, match="name: unknown model 'nobody'; known: "):
        load(on_host(exported, tmp_path / "name", name="nobody", size=""))


def test_without_onnxruntime(exported: Exports, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match="onnxruntime is not installed: pip install onnxruntime"):
        load(exported("tiny"))
