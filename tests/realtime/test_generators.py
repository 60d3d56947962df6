"""Any network by its name and weights: on a real clip, behind a real server, and refused in one line."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from models import registry, weights
from models.contract import CropRule, Observation, Reenactor, Spec
from models.dae_gan import reenactor
from models.registry import register
from realtime import generators
from realtime.animate import Animation, animate
from realtime.animate import main as animate_main
from realtime.avatar import Avatar
from realtime.bench.__main__ import main as bench_main
from realtime.config import Settings
from realtime.devices import Precision, choose_half
from realtime.engine import Engine
from realtime.footage import open_footage
from realtime.generators import TRIAL_S, frames_per_second, make_generator, name_of
from realtime.pictures import load_picture
from realtime.serve import load, warm_up
from realtime.serve import main as serve_main
from tests.flat import Flat, FlatAppearance, FlatStructure
from tests.live import PATIENCE_S, Peer, peer_of
from tests.material import ASTRONAUT, GRID_CLIP, MONA_LISA, frames, picture
from tests.models.little_portrait import LittlePortrait
from tests.models.tiny import Tiny
from tests.realtime.test_serve import process

CHEAPEST = ("imf:light", "dae_gan", "landmark_gan", "latent", LittlePortrait.spec.name)
EMPTY = np.full((288, 360, 3), 90, np.uint8)
KEY = "linear.bias"


@pytest.fixture
def driving(tmp_path: Path) -> Path:
    """A folder of two frames: a face, and nobody."""
    folder = tmp_path / "driving"
    folder.mkdir()
    for index, frame in enumerate((frames(GRID_CLIP, most=1)[0], EMPTY)):
        Image.fromarray(frame).save(folder / f"{index}.png")
    return folder


def made(
    tmp_path: Path,
    driving: Path,
    *sources: Path,
    model: str,
    file: str | None = "random",
    precision: Precision = "auto",
) -> list[np.ndarray]:
    """The frames of an animation."""
    out = tmp_path / "out.mp4"
    report = animate(
        Animation(sources, driving, out, model=model, weights=file, device="cpu", precision=precision)
    )
    assert (report.frames, report.faceless) == (2, 1)
    with open_footage(out) as footage:
        return [frame.picture.astype(int) for frame in footage.frames()]


def drawn_at(model: str, portrait: Path) -> tuple[slice, slice]:
    """Rows and columns of a portrait that lie inside the network's crop, whichever way that is turned."""
    rule = registry.parse(model)[0].spec.source
    return Engine(Mirror(rule)).prepare(picture(portrait)).framing.region


class MirrorAppearance(NamedTuple):
    structure: FlatStructure
    picture: Tensor


@register
class Mirror(Flat):
    """Draws the very crop that it was given, wherever the driver looks."""

    spec = Spec(
        name="mirror",
        reads=frozenset({"image"}),
        source=CropRule(size=256, scale=1.5, upright=True),
        driving=CropRule(size=32, scale=1.5),
        controls=("relative",),
        needs_weights=False,
    )

    def __init__(self, rule: CropRule = spec.source) -> None:
        super().__init__()
        self.spec = Spec("mirror", frozenset({"image"}), rule, type(self).spec.driving, ("relative",))

    def encode_appearance(self, sources: Sequence[Observation]) -> FlatAppearance:
        return MirrorAppearance(self.encode_structure(sources[0]), sources[0].image)  # type: ignore[return-value]

    def decode(self, appearance: FlatAppearance, structure: FlatStructure) -> tuple[Tensor, Tensor]:
        rgb = appearance.picture  # type: ignore[attr-defined]
        return rgb, torch.ones_like(rgb[:, :1])


@pytest.mark.parametrize("model", [*CHEAPEST, pytest.param("liveportrait", marks=pytest.mark.slow)])
def test_every_network_animates_a_real_clip(tmp_path: Path, driving: Path, model: str, caplog) -> None:
    """Noise in the portrait's crop and the portrait around it; when the face is lost the pose is held."""
    seen, lost = made(tmp_path, driving, MONA_LISA, model=model)
    assert "has random weights: its picture is noise" in caplog.text
    portrait = picture(MONA_LISA).astype(int)
    assert seen.shape == lost.shape == portrait.shape
    assert np.abs(seen - lost).mean() < 1.5
    rows, columns = drawn_at(model, MONA_LISA)
    around = np.ones(portrait.shape[:2], bool)
    around[rows, columns] = False
    assert np.abs(seen - portrait)[around].mean() < 4
    crop = seen[rows, columns]
    assert np.abs(crop - portrait[rows, columns]).mean() > 20
    assert crop.std() > 4, "one flat colour is no picture"
    face = frames(GRID_CLIP, most=1)[0]
    for driver in (face, face[40:260, 70:290]):
        there = cv2.resize(driver, crop.shape[1::-1], interpolation=cv2.INTER_AREA)
        assert abs(np.corrcoef(there.mean(2).ravel(), crop.mean(2).ravel())[0, 1]) < 0.5


def test_a_second_picture_of_the_person_changes_the_avatar(
    tmp_path: Path, driving: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stays in the first one's place: outside the crop nothing changes."""
    small = reenactor.Layout(side=64, code=8, width=8, downs=2, blocks=1)
    monkeypatch.setitem(reenactor.SIZES, "paper", small)
    one, _ = made(tmp_path, driving, ASTRONAUT, model="dae_gan")
    both, _ = made(tmp_path, driving, ASTRONAUT, MONA_LISA, model="dae_gan")
    rows, columns = drawn_at("dae_gan", ASTRONAUT)
    assert one.shape == both.shape == picture(ASTRONAUT).shape
    changed = np.abs(one - both)
    assert changed[rows, columns].mean() > 10
    changed[rows, columns] = 0
    assert changed.mean() < 1


def test_an_upright_crop_is_turned_back() -> None:
    source = picture(MONA_LISA)[:700]
    height, width = source.shape[:2]
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), 25, 1)
    tilted = cv2.warpAffine(source, turn, (width, height), borderMode=cv2.BORDER_REPLICATE)
    engine = Engine(Mirror())
    portrait = engine.prepare(tilted)
    avatar = Avatar(portrait)
    shown = engine.render(avatar, engine.as_driver(tilted), 0.0).picture
    rows, columns = portrait.framing.region
    assert rows.stop - rows.start > 200
    smooth = [cv2.GaussianBlur(image[rows, columns], (0, 0), 4).astype(int) for image in (tilted, shown)]
    assert np.abs(smooth[0] - smooth[1]).mean() < 2


def test_a_source_picture_without_a_face_is_told_by_its_number() -> None:
    engine = Engine(Tiny())
    with pytest.raises(ValueError, match="source picture 2: no face found"):
        engine.prepare(picture(ASTRONAUT), EMPTY)
    with pytest.raises(ValueError, match="1 to 3 source pictures, not 4"):
        engine.prepare(*[picture(ASTRONAUT)] * 4)
    twice = np.hstack([picture(ASTRONAUT)] * 2)
    assert (
        engine.prepare(picture(ASTRONAUT), twice)
        .warnings[0]
        .startswith("source picture 2: there are 2 faces")
    )


def test_the_engine_takes_no_gradients_and_runs_for_use() -> None:
    generator = Engine(make_generator("tiny:wide", "random")).generator
    assert not generator.training
    assert not any(parameter.requires_grad for parameter in generator.parameters())


def test_weights_from_a_file_are_the_ones_that_run(tmp_path: Path, driving: Path) -> None:
    """They say the size themselves. A network whose output is white draws white."""
    network = Tiny("wide")
    with torch.no_grad():
        network.picture.bias.fill_(50)
    file = tmp_path / "white.safetensors"
    weights.save(network, file)
    assert name_of(make_generator("tiny", str(file)).spec) == "tiny:wide"
    seen, _ = made(tmp_path, driving, MONA_LISA, model="tiny", file=str(file))
    rows, columns = Engine(network).prepare(picture(MONA_LISA)).framing.region
    middle = seen[rows, columns][40:-40, 40:-40]
    assert middle.min() > 235


def test_a_control_that_the_model_does_not_honour_is_told(tmp_path: Path, driving: Path, caplog) -> None:
    out = tmp_path / "out.mp4"
    animate(
        Animation((ASTRONAUT,), driving, out, model="tiny", weights="random", lips=1.5, driver_pixels="none")
    )
    assert "model tiny:narrow has no control lips: left out" in caplog.text


# -- auto, and half precision --------------------------------------------------------------------------


class Timed(Flat):
    """Takes so long to read a driver and to draw a picture, by a clock that nothing else moves."""

    def __init__(self, reading_s: float, drawing_s: float) -> None:
        super().__init__()
        self.reading_s, self.drawing_s, self.now_s = reading_s, drawing_s, 0.0

    def encode_structure(self, driving: Observation) -> FlatStructure:
        self.now_s += self.reading_s
        return super().encode_structure(driving)

    def decode(self, appearance: FlatAppearance, structure: FlatStructure) -> tuple[Tensor, Tensor]:
        self.now_s += self.drawing_s
        return super().decode(appearance, structure)


@pytest.mark.parametrize(("reading_s", "drawing_s"), [(0.004, 0.016), (0.01, 0.09)])
def test_a_trial_counts_frames(reading_s: float, drawing_s: float) -> None:
    network = Timed(reading_s, drawing_s)
    fps = frames_per_second(network, "cpu", clock=lambda: network.now_s)
    assert fps == pytest.approx(1 / (reading_s + drawing_s), rel=0.02)
    assert TRIAL_S <= network.now_s < TRIAL_S + 0.3


def test_a_trial_of_a_network_that_is_far_too_slow_ends_soon() -> None:
    network = Timed(0.1, 30.0)
    assert frames_per_second(network, "cpu", clock=lambda: network.now_s) == pytest.approx(10)
    assert network.now_s < 1


@pytest.fixture
def photoreal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the cache keeps weights of LivePortrait, which is a little one here."""
    monkeypatch.setenv("REENACT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(generators, "PHOTOREAL", LittlePortrait.spec.name)
    path = weights.cached(LittlePortrait.spec.name)
    path.parent.mkdir()
    return path


@pytest.mark.parametrize(
    ("fetched", "fps", "model"),
    [(True, 21, "little_portrait"), (True, 19, "warp"), (False, 21, "warp")],
)
def test_auto_takes_the_photoreal_one_where_it_is_there_and_fast_enough(
    photoreal: Path, monkeypatch: pytest.MonkeyPatch, caplog, fetched: bool, fps: float, model: str
) -> None:
    if fetched:
        weights.save(weights.seeded("little_portrait", 3), photoreal)
    tried = []

    def measure(generator: Reenactor, device: str, precision: str) -> float:
        tried.append((generator.spec.name, device, precision))
        return fps

    monkeypatch.setattr(generators, "frames_per_second", measure)
    found = make_generator("auto", None, 1, "cpu", "bf16")
    assert found.spec.name == model
    assert tried == ([("little_portrait", "cpu", "bf16")] if fetched else [])
    if model == "little_portrait":
        own = load_file(photoreal)
        assert all(torch.equal(own[key], value) for key, value in found.state_dict().items())
    told = "makes no more than 19.0 frames a second on cpu, and 20 are wanted: warp is taken"
    assert (told in caplog.text) == (fetched and fps < 20)


def test_auto_takes_warp_where_memory_runs_out(
    photoreal: Path, monkeypatch: pytest.MonkeyPatch, caplog
) -> None:
    weights.save(LittlePortrait(), photoreal)

    def measure(*_: object) -> float:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(generators, "frames_per_second", measure)
    assert make_generator("auto").spec.name == "warp"
    assert "not enough memory on cpu for model little_portrait: warp is taken" in caplog.text


def test_auto_tells_of_fetched_weights_that_are_damaged(photoreal: Path) -> None:
    photoreal.write_bytes(b"")
    with pytest.raises(ValueError, match="an empty file"):
        make_generator("auto")


def test_auto_does_not_take_a_file() -> None:
    with pytest.raises(ValueError, match="name with --model whose weights these are"):
        make_generator("auto", "random")


@pytest.mark.parametrize(("enough_fps", "model"), [(1e-3, "little_portrait"), (1e6, "warp")])
def test_what_a_trial_that_is_really_made_chooses_animates(
    photoreal: Path,
    tmp_path: Path,
    driving: Path,
    monkeypatch: pytest.MonkeyPatch,
    enough_fps: float,
    model: str,
) -> None:
    monkeypatch.setattr(generators, "ENOUGH_FPS", enough_fps)
    weights.save(weights.seeded("little_portrait"), photoreal)
    out = tmp_path / "out.mp4"
    chosen = Animation((MONA_LISA,), driving, out, device="cpu")
    assert chosen.model == Settings((MONA_LISA,)).model == "auto"
    assert make_generator("auto").spec.name == model
    assert animate(chosen).frames == 2
    with open_footage(out) as footage:
        (auto, _) = [frame.picture.astype(int) for frame in footage.frames()]
    file = str(photoreal) if model == "little_portrait" else None
    by_name = made(tmp_path, driving, MONA_LISA, model=model, file=file)[0]
    assert np.abs(auto - by_name).mean() < 0.1


@pytest.mark.parametrize("model", ["landmark_gan", "little_portrait"])
def test_half_precision_draws_nearly_the_same(tmp_path: Path, driving: Path, model: str) -> None:
    whole = made(tmp_path, driving, MONA_LISA, model=model)[0]
    rows, columns = drawn_at(model, MONA_LISA)
    half = made(tmp_path, driving, MONA_LISA, model=model, precision="bf16")[0]
    difference = np.abs(whole - half)[rows, columns]
    assert 0 < difference.mean() < 2


def test_half_precision_is_for_networks_that_bear_it() -> None:
    spec = LittlePortrait.spec
    assert choose_half("auto", spec, "cuda") is torch.float16
    assert choose_half("auto", spec, "cpu") is None
    assert choose_half("bf16", spec, "cpu") is torch.bfloat16
    assert choose_half("float32", spec, "cuda") is None
    assert choose_half("auto", Tiny.spec, "cuda") is None
    assert choose_half("auto", registry.get("warp").spec, "cuda") is None
    with pytest.raises(ValueError, match="model warp runs in float32 only: leave --precision fp16 out"):
        choose_half("fp16", registry.get("warp").spec, "cuda")


# -- what is refused ---------------------------------------------------------------------------------------


def changed(folder: Path, key: str = KEY, tensor: Tensor | None = None) -> Path:
    """A file of the tiny network with one tensor replaced, or without it."""
    file = folder / "w.safetensors"
    weights.save(Tiny(), file)
    tensors = load_file(file)
    with safe_open(file, framework="pt") as opened:
        header = dict(opened.metadata())
    tensors.pop(key, None)
    if tensor is not None:
        tensors[key] = tensor
    save_file(tensors, file, header | {"sha256": weights.digest(tensors)})
    return file


def whole(folder: Path) -> Path:
    return changed(folder, KEY, torch.zeros(4))


def cut(folder: Path) -> Path:
    file = whole(folder)
    file.write_bytes(file.read_bytes()[:-8])
    return file


def pickled(folder: Path) -> Path:
    torch.save(Tiny().state_dict(), folder / "w.pt")
    return folder / "w.pt"


MISTAKES: dict[str, tuple[str, Callable[[Path], Path | str | None], tuple[str, ...]]] = {
    "none": ("tiny", lambda folder: None, ("model tiny needs --weights FILE, or --weights random",)),
    "needless": ("warp", lambda folder: "random", ("model warp needs no weights: leave --weights out",)),
    "unknown": ("tiny:huge", lambda folder: "random", ("'huge'", "known: tiny:narrow, tiny:wide")),
    "absent": ("tiny", lambda folder: folder / "w.safetensors", ("w.safetensors: there is no such file",)),
    "cut": ("tiny", cut, ("w.safetensors: cut short: ", "expected at least")),
    "pickle": ("tiny", pickled, ("w.pt: a zip archive", "expected safetensors")),
    "missing": ("tiny", changed, (f"{KEY} is missing", "expects 4 float32")),
    "extra": (
        "tiny",
        lambda folder: changed(folder, "x", torch.zeros(1)),
        ("x is unexpected", "no such key"),
    ),
    "shape": (
        "tiny",
        lambda folder: changed(folder, KEY, torch.zeros(5)),
        (KEY, "is 5 float32", "expects 4"),
    ),
    "nan": (
        "tiny",
        lambda folder: changed(folder, KEY, torch.full((4,), torch.nan)),
        (f"{KEY} holds NaN", "expected are finite"),
    ),
    "size": ("tiny:wide", whole, ("weights of model tiny:narrow", "expected those of tiny:wide")),
    "network": ("landmark_gan", whole, ("weights of model tiny:narrow", "expected those of landmark_gan")),
}
PROGRAMS: dict[str, tuple[Callable[[list[str]], None], tuple[str, ...], str]] = {
    "animate": (animate_main, ("--driving", str(GRID_CLIP)), "reenact-animate: "),
    "serve": (serve_main, ("--port", "0"), "reenact-serve: "),
    "stages": (bench_main, ("stages",), "python -m realtime.bench stages: "),
    "quality": (bench_main, ("quality", "--clips", str(GRID_CLIP)), "python -m realtime.bench quality: "),
}


def told(program: str, arguments: Sequence[str], capfd: pytest.CaptureFixture[str]) -> str:
    """The one line that a program leaves with, with exit code 2."""
    main, usual, name = PROGRAMS[program]
    with pytest.raises(SystemExit) as end:
        main([*usual, *arguments])
    said = capfd.readouterr().err
    assert end.value.code == 2
    assert said.count("\n") == 1, said
    assert said.startswith(name)
    return said


@pytest.mark.parametrize(
    ("program", "mistake"),
    [("animate", mistake) for mistake in MISTAKES]
    + [(program, mistake) for program in ("serve", "stages", "quality") for mistake in ("none", "nan")],
)
def test_weights_that_cannot_be_used_are_told_in_one_line(
    tmp_path: Path, program: str, mistake: str, capfd: pytest.CaptureFixture[str]
) -> None:
    model, make, expected = MISTAKES[mistake]
    file = make(tmp_path)
    before = sorted(tmp_path.iterdir())
    source = [] if program == "quality" else ["--source", str(MONA_LISA)]
    output = ["--output", str(tmp_path / "out.mp4")] if program == "animate" else []
    chosen = ["--model", model, *(["--weights", str(file)] if file else [])]
    said = told(program, [*source, *output, *chosen], capfd)
    assert all(part in said for part in expected), said
    assert not isinstance(file, Path) or str(file) in said
    assert sorted(tmp_path.iterdir()) == before, "nothing is written"


@pytest.mark.parametrize(
    ("model", "count", "reason"),
    [
        ("warp", 2, "model warp takes one source picture, not 2"),
        ("imf:light", 2, "model imf:light takes one source picture, not 2"),
        ("landmark_gan", 3, "model landmark_gan takes one source picture, not 3"),
        ("latent", 2, "model latent takes one source picture, not 2"),
        ("dae_gan", 9, "model dae_gan takes at most 8 source pictures, not 9"),
    ],
)
@pytest.mark.parametrize("program", ["animate", "serve", "stages"])
def test_too_many_sources_are_told(
    tmp_path: Path, program: str, model: str, count: int, reason: str, capfd: pytest.CaptureFixture[str]
) -> None:
    output = ["--output", str(tmp_path / "out.mp4")] if program == "animate" else []
    random = [] if model == "warp" else ["--weights", "random"]
    sources = ["--source", str(MONA_LISA)] * count
    assert reason in told(program, [*sources, *output, "--model", model, *random], capfd)


@pytest.mark.parametrize("program", ["animate", "serve"])
def test_a_portrait_is_wanted(program: str, capfd: pytest.CaptureFixture[str]) -> None:
    output = ["--output", "out.mp4"] if program == "animate" else []
    assert "name its picture with --source" in told(program, output, capfd)


@pytest.mark.parametrize("program", ["animate", "serve"])
def test_help_names_every_network(program: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        PROGRAMS[program][0](["--help"])
    said = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert all(name in said for name in registry.MODULES)
    assert "--weights" in said


# -- live --------------------------------------------------------------------------------------------------


async def answered(peer: Peer, pictures: Sequence[np.ndarray]) -> np.ndarray:
    """The first picture of the avatar that comes back; the camera shows those pictures meanwhile."""
    async with asyncio.timeout(3 * PATIENCE_S):
        while True:
            for image in pictures:
                peer.camera.push(image)
                await asyncio.sleep(0.05)
                if not peer.frames.empty():
                    return peer.frames.get_nowait().to_ndarray(format="rgb24")


async def test_a_network_with_random_weights_is_served(loopback_ice: None) -> None:
    chosen = ("--source", str(MONA_LISA), "--model", "landmark_gan", "--weights", "random", "--threads", "1")
    told = asyncio.subprocess.PIPE
    async with process(*chosen, module="realtime.serve", stderr=told) as (running, address):
        async with peer_of(address) as peer:
            assert (await peer.http.get("/readyz")).status == 200
            config = await (await peer.http.get("/api/config")).json()
            assert config["model"] == "landmark_gan:64"
            assert set(config["controls"]) == {"relative", "gain_pose", "gain_expression", "eyes", "lips"}
            assert (await peer.publish()).status == 201
            session = f"/api/sessions/{peer.location.rpartition('/')[2]}"
            assert (await peer.message("hello"))["controls"].keys() == config["controls"].keys()
            shown = await answered(peer, frames(GRID_CLIP, most=8))
            assert shown.shape == (512, 512, 3), "the network's 64² on the server's canvas"
            assert shown.std() > 10
            changed = await peer.http.patch(session, json={"controls": {"lips": 0.5}})
            assert (await changed.json())["controls"]["lips"] == 0.5
            refused = await peer.http.patch(session, json={"controls": {"shading": 0.5}})
            assert refused.status == 422
            assert "unknown control 'shading'" in (await refused.json())["detail"]
            swapped = await peer.http.put(f"{session}/source", data=ASTRONAUT.read_bytes())
            assert (swapped.status, await swapped.json()) == (200, {"warnings": []})
        running.terminate()
        _, said = await running.communicate()
        assert running.returncode == 0
    assert "model landmark_gan:64 has random weights: its picture is noise" in said.decode()


def test_the_server_starts_with_several_pictures_of_a_person() -> None:
    both = (ASTRONAUT, MONA_LISA)
    settings = Settings(both, model="tiny", weights="random", device="cpu", canvas="64x64", threads=1)
    engine, portrait = load(settings)
    alone = engine.prepare(load_picture(ASTRONAUT))
    assert torch.equal(portrait.framing.base, alone.framing.base)
    assert torch.equal(portrait.appearance.structure.token, alone.appearance.structure.token)
    assert not torch.allclose(portrait.appearance.features, alone.appearance.features, atol=1e-3)
    warm_up(engine, alone, load_picture(ASTRONAUT))
