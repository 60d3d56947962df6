"""What `--model` and `--backend` come to: a network by its name, or a folder of graphs."""

import os
import shutil
import sysconfig
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from models import weights
from realtime.animate import Animation, animate
from realtime.avatar import Avatar
from realtime.bench.recording import portrait, recording
from realtime.config import Settings
from realtime.engine import Engine, Request
from realtime.exported import ExportedNetwork
from realtime.footage import open_footage
from realtime.framing import Canvas
from realtime.generators import compile_calls, device_of, is_folder, make_generator, runs_in_torch
from realtime.serve import load
from tests.material import ASTRONAUT, GRID_CLIP, MONA_LISA, frames
from tests.models.test_contract import narrow
from tests.realtime.test_generators import PROGRAMS, told

Exports = Callable[..., Path]


def test_a_folder_is_told_from_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("warp", "auto", "mine"):
        (tmp_path / name).mkdir()
    for folder in ("mine", "./warp", "warp/", f"deep{os.sep}wide", str(tmp_path)):
        assert is_folder(folder), folder
    for name in ("warp", "auto", "imf:light", "landmark_gan:none", "nonesuch"):
        assert not is_folder(name), name


@pytest.mark.parametrize("backend", ["auto", "torch"])
def test_a_name_is_torchs(backend: str) -> None:
    network = make_generator("tiny", "random", backend=backend)  # type: ignore[arg-type]
    assert type(network) is type(narrow("tiny"))
    assert device_of(network, "cuda") == "cuda"


@pytest.mark.skipif(
    shutil.which("g++") is None or not Path(sysconfig.get_path("include"), "Python.h").exists(),
    reason="torch compiles for processors with g++ and Python's headers",
)
@pytest.mark.filterwarnings("ignore:.torch.jit.script_method:DeprecationWarning")  # torch uses its own
def test_what_torch_has_compiled_draws_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches of one, and of several."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    plain, compiled = (make_generator("tiny", "random") for _ in range(2))
    compiled.load_state_dict(plain.state_dict())
    compile_calls(compiled)
    shown = []
    for network in (plain, compiled):
        engine = Engine(network, canvas=Canvas(64, 64), slots=3)
        avatars = [Avatar(portrait(engine)) for _ in range(3)]
        frames = recording(network.spec.driving)[:3]
        for count in (1, 2, 3):
            requests = [
                Request(avatar, frame, count / 30) for avatar, frame in zip(avatars, frames, strict=True)
            ]
            shown += [one.picture.astype(int) for one in engine.draw(requests[:count])]
    for ours, theirs in zip(shown[:6], shown[6:], strict=True):
        assert np.abs(ours - theirs).max() <= 1


def test_there_is_nothing_to_compile_in_a_folder(exported: Exports) -> None:
    network = make_generator(str(exported("tiny")))
    assert not runs_in_torch(network)
    with pytest.raises(ValueError, match="leave --compile out"):
        compile_calls(network)


@pytest.mark.parametrize("backend", ["auto", "onnx"])
def test_a_folder_is_onnx_runtimes(exported: Exports, backend: str) -> None:
    network = make_generator(str(exported("tiny")), sources=3, backend=backend)  # type: ignore[arg-type]
    assert isinstance(network, ExportedNetwork)
    assert device_of(network, "cpu") == "cpu"


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--backend", "torch"), "an exported generator, which ONNX Runtime runs: leave --backend torch out"),
        (("--weights", "random"), "an exported generator, with its weights: leave --weights out"),
        (("--precision", "float32"), "of the precision it was exported in: leave --precision out"),
        (("--source", str(MONA_LISA)) * 3, "takes at most 3 source pictures, not 4"),
    ],
)
@pytest.mark.parametrize("program", ["animate", "serve"])
def test_what_does_not_go_with_a_folder(
    exported: Exports,
    tmp_path: Path,
    program: str,
    options: tuple[str, ...],
    reason: str,
    capfd: pytest.CaptureFixture[str],
) -> None:
    output = ["--output", str(tmp_path / "out.mp4")] if program == "animate" else []
    folder = str(exported("tiny"))
    said = told(program, ["--source", str(MONA_LISA), *output, "--model", folder, *options], capfd)
    assert reason in said
    assert folder in said


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (
            ("--model", "imf:light", "--backend", "onnx"),
            "python -m trainer.export imf:light --output DIR, and",
        ),
        (("--backend", "onnx"), "python -m trainer.export NAME --output DIR, and then --model DIR"),
        (("--model", "exported/gone"), "exported/gone: there is no such folder; expected a folder that"),
        (("--model", "nonesuch"), "unknown model 'nonesuch'; known: dae_gan"),
        (("--backend", "tensorrt"), "backend"),
    ],
)
@pytest.mark.parametrize("program", ["animate", "serve"])
def test_what_is_no_folder(
    tmp_path: Path, program: str, options: tuple[str, ...], reason: str, capfd: pytest.CaptureFixture[str]
) -> None:
    output = ["--output", str(tmp_path / "out.mp4")] if program == "animate" else []
    assert reason in told(program, ["--source", str(MONA_LISA), *output, *options], capfd)


@pytest.mark.parametrize("program", ["animate", "serve"])
def test_help_tells_of_folders(program: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        PROGRAMS[program][0](["--help"])
    said = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "--backend {auto,torch,onnx}" in said
    assert "the folder that trainer.export wrote" in said


def test_a_folder_animates_as_its_network_does(exported: Exports, tmp_path: Path) -> None:
    file, driving = tmp_path / "tiny.safetensors", tmp_path / "driving"
    weights.save(narrow("tiny"), file)
    driving.mkdir()
    for index, frame in enumerate(frames(GRID_CLIP, most=11)[::5]):
        Image.fromarray(frame).save(driving / f"{index}.png")
    films = []
    for number, (model, own) in enumerate([("tiny", str(file)), (str(exported("tiny")), None)]):
        out = tmp_path / f"{number}.mp4"
        asked = Animation((MONA_LISA, ASTRONAUT), driving, out, model=model, weights=own, device="cpu")
        assert animate(asked).frames == 3
        with open_footage(out) as footage:
            films.append(np.stack([frame.picture.astype(int) for frame in footage.frames()]))
    assert np.abs(films[0] - films[1]).mean() < 0.1


def test_a_server_of_a_folder(exported: Exports) -> None:
    model, options = str(exported("landmark_gan")), {"device": "cpu", "canvas": "64x64", "threads": 1}
    engine, portrait = load(Settings((MONA_LISA,), model=model, **options))  # type: ignore[arg-type]
    assert isinstance(engine.generator, ExportedNetwork)
    assert engine.device == torch.device("cpu")
    shown = engine.render(Avatar(portrait), engine.as_driver(frames(GRID_CLIP, most=1)[0]), 0.0)
    assert shown.picture.shape == (64, 64, 3)
    assert shown.picture.std() > 5
