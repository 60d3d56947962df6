"""latent's stages, one after the other: each goes on from what the one before has left, and says so where
there is nothing."""

import json
import pickle
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from models.coefficients import CoefficientRegressor, save_coefficients
from models.latent import Latent
from models.stylegan2 import Generator
from models.weights import seeded
from tests.trainer import small_runs
from trainer import ablate, chain, checkpoint, evaluate, export, journal, prepare, recipes, train
from trainer.data.rendering import Rendering, render_clips
from trainer.data.walks import STRUCTURE, load_moves
from trainer.recipes.latent import LatentRecipe
from trainer.trained import checkpoint_at, generator_of

MODEL = "latent:tiny"
QUICK = ("--config", "tiny", "--batch", "4", "--log-every", "4", "--sample-every", "8", "--device", "cpu")
# How what a stage trains is called.
PARTS = {"stylegan2": "generator.", "latent_encoder": "encoder.", "latent": "f_"}


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    quick(monkeypatch)


def quick(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(journal, "_open_board", small_runs.no_board)
    for name in PARTS:
        recipe = recipes.get(name).build(recipes.get(name).configs["tiny"])
        patch.setattr(type(recipe), "looked_at", 4)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("people") / "rendered"
    for _ in render_clips(Rendering(path, identities=24, frames=8, size=48, style="stills", workers=1)):
        pass
    return path


@pytest.fixture(scope="module")
def runs(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The whole chain, of eight pictures each: three runs, the moves and a face model."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("runs")
    torch.manual_seed(0)
    face = CoefficientRegressor(["who"], ["what", "where"])
    save_coefficients(face, folder / "face.safetensors")
    with pytest.MonkeyPatch.context() as patch:
        quick(patch)
        assert ran("stylegan2", folder, data) == 0
        seen = ("--upstream", f"{folder}/stylegan2", "--coefficients", f"{folder}/face.safetensors")
        assert ran("latent_encoder", folder, data, *seen) == 0
        assert prepare.main(["moves", *moves(folder, data), "--sheet", f"{folder}/sheet.png"]) == 0
        assert ran("latent", folder, data, *given(folder)) == 0
    return folder


def ran(name: str, folder: Path, data: Path, *more: str) -> int:
    """Two steps, with a checkpoint after each."""
    words = ("--data", str(data), "--output", f"{folder}/{name}", "--pictures", "8", "--checkpoint-every")
    return train.main([name, *QUICK, *words, "4", *more])


def moves(folder: Path, data: Path) -> list[str]:
    words = {
        "upstream": f"{folder}/latent_encoder",
        "model": MODEL,
        "data": data,
        "output": f"{folder}/moves.safetensors",
        "coefficients": f"{folder}/face.safetensors",
    }
    return [word for name, one in words.items() for word in (f"--{name}", str(one))]


def given(folder: Path) -> list[str]:
    names = {"upstream": "latent_encoder", "moves": "moves.safetensors", "coefficients": "face.safetensors"}
    return [word for name, one in names.items() for word in (f"--{name}", f"{folder}/{one}")]


def averaged(run: Path) -> dict[str, torch.Tensor]:
    """What the next stage takes."""
    state: dict[str, torch.Tensor] = checkpoint.read(checkpoint_at(run))["ema"]
    return state


def refused(words: list[str], capsys: pytest.CaptureFixture[str], command: Any = train.main) -> str:
    capsys.readouterr()
    code = command(words)
    said = capsys.readouterr()
    assert (code, said.out, len(said.err.splitlines())) == (2, "", 1), said
    return said.err


@pytest.mark.parametrize(("name", "before"), [("latent_encoder", "stylegan2"), ("latent", "latent_encoder")])
def test_a_stage_trains_its_part_of_what_the_one_before_has_left(name: str, before: str, runs: Path) -> None:
    now, then = averaged(runs / name), averaged(runs / before)
    changed = {key for key in now if not torch.equal(now[key], then[key])}
    assert changed
    own = {key for key in changed if key.startswith(PARTS[name])}
    assert changed - own <= {"latent_avg"}
    # The mean w is known when the mapping is.
    assert ("latent_avg" in changed) is (name == "latent_encoder")


def test_the_first_stage_leaves_encoder_and_halves_as_they_were_made(runs: Path) -> None:
    now, then = averaged(runs / "stylegan2"), seeded(MODEL, 0).state_dict()
    changed = {key.partition(".")[0] for key in now if not torch.equal(now[key], then[key])}
    assert changed == {"generator"}


def test_the_mean_w_is_the_mapping_s(runs: Path) -> None:
    kept = runs / "latent_encoder" / "checkpoints" / "step-00000002.pt"
    network, _ = generator_of(kept, MODEL, part=True)
    assert isinstance(network, Latent)
    random = torch.Generator().manual_seed(3)
    with torch.no_grad():
        w = network.generator.map(torch.randn(20_000, network.layout.style, generator=random))
    apart = (network.latent_avg - w.mean(0)).norm(dim=1) / w.std(0).norm()
    assert float(apart.max()) < 0.05
    assert torch.equal(network.latent_avg, chain.mean_w(network).expand_as(network.latent_avg))


def test_what_every_phase_says_is_in_the_log(runs: Path) -> None:
    for name, words in (
        ("stylegan2", ("generator/adversarial", "path/length", "discriminator/bce", "r1/r1")),
        ("latent_encoder", ("encoder/pixel", "encoder/perceptual", "encoder/face", "discriminator/bce")),
        ("latent", ("halves/reconstruction", "halves/3dmm structure", "halves/appearance")),
    ):
        lines = [json.loads(line) for line in (runs / name / "log.jsonl").read_text().splitlines()]
        assert set(words) <= lines[0].keys()
        assert any("held out/swd" in line or "held out/l1" in line for line in lines)
        assert list((runs / name / "samples").glob("*.png"))


def test_moves_are_of_the_encoder_s_codes(runs: Path) -> None:
    network = seeded(MODEL, 0)
    assert isinstance(network, Latent)
    found = load_moves(runs / "moves.safetensors", *network.latent_avg.shape)
    assert found.directions.shape == (len(STRUCTURE), 10, 128)
    assert found.directions[:, :7].any()
    assert not found.directions[:, 7:].any()
    assert 0 < float(found.fit) <= 1
    assert (runs / "sheet.png").stat().st_size > 1000


@pytest.mark.parametrize("name", ["stylegan2", "latent"])
def test_a_run_goes_on_bit_for_bit(name: str, runs: Path, data: Path, tmp_path: Path) -> None:
    """What the recipe remembers of its steps included."""
    more = ["--resume", "auto", *(given(runs) if name == "latent" else [])]
    assert ran(name, tmp_path, data, *more) == 0
    kept = tmp_path / name / "checkpoints"
    for lost in ("step-00000002.pt", "best.pt"):
        (kept / lost).unlink()
    assert ran(name, tmp_path, data, *more) == 0
    states = [checkpoint.read(run / name / "checkpoints" / "step-00000002.pt") for run in (runs, tmp_path)]
    for part in ("ema", "memory", "networks"):
        one, other = (flat(state[part]) for state in states)
        assert one.keys() == other.keys()
        assert all(torch.equal(one[key], other[key]) for key in one)
    if name == "stylegan2":
        assert states[0]["memory"].keys() == {"path_mean", "probability", "sign"}
        assert float(states[0]["memory"]["path_mean"]) > 0


def flat(tensors: dict[str, Any], before: str = "") -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = {}
    for key, value in tensors.items():
        found |= flat(value, f"{before}{key}.") if isinstance(value, dict) else {before + key: value}
    return found


def test_a_stage_says_what_makes_what_it_needs(
    runs: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*QUICK, "--data", str(data), "--output", f"{tmp_path}/run", "--pictures", "8"]
    making = "`python -m trainer.train stylegan2 --model latent:tiny --output RUN` makes it: --upstream RUN"
    assert making in refused(["latent_encoder", *words], capsys)
    assert making in refused(["latent_encoder", *words, "--upstream", f"{tmp_path}/none"], capsys)
    said = refused(["latent", *words, "--upstream", f"{runs}/stylegan2"], capsys)
    assert "is of stylegan2, and latent goes on from latent_encoder" in said
    encoder = ("--upstream", f"{runs}/latent_encoder")
    said = refused(["latent", *words, *encoder], capsys)
    assert "trainer.prepare moves" in said
    assert "--moves" in said
    there = (*encoder, "--moves", f"{runs}/moves.safetensors")
    said = refused(["latent", *words, *there], capsys)
    assert "trainer.prepare coefficients" in said
    assert "--ablate" in said
    assert not (tmp_path / "run").exists()
    words += ["--model", "latent:light"]
    said = refused(["latent_encoder", *words, "--upstream", f"{runs}/stylegan2"], capsys)
    assert "latent:tiny; expected those of latent:light" in said
    said = refused(["moves", *moves(tmp_path, data)], capsys, prepare.main)
    assert "trainer.train latent_encoder" in said


def test_a_stage_is_neither_exported_nor_judged_for_the_whole(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for command, words in (
        (export.main, [f"{runs}/stylegan2", "--output", f"{tmp_path}/out"]),
        (evaluate.main, ["--weights", f"{runs}/latent_encoder", "--output", f"{tmp_path}/out"]),
    ):
        assert "a stage of latent; expected a run of recipe latent" in refused(words, capsys, command)
    assert not (tmp_path / "out").exists()
    network, training = generator_of(checkpoint_at(runs / "latent"))
    assert isinstance(network, Latent)
    assert training.recipe == "latent"


def test_rows_of_ablations_share_what_comes_before(runs: Path, data: Path, tmp_path: Path) -> None:
    words = ["--data", str(data), "--pictures", "8", "--output", f"{tmp_path}/table", "--people", "2"]
    names = ["--names", "whole", "without-distance", "--landmarks", "none"]
    assert ablate.main(["latent", *QUICK, *words, *given(runs), *names]) == 0
    table = json.loads((tmp_path / "table" / "table.json").read_text())
    assert list(table["variants"]) == ["whole", "without-distance"]
    whole, dot = (averaged(tmp_path / "table" / name) for name in table["variants"])
    before = averaged(runs / "latent_encoder")
    for key, tensor in before.items():
        if not key.startswith("f_"):
            assert torch.equal(whole[key], tensor)
            assert torch.equal(dot[key], tensor)
    assert any(not torch.equal(whole[key], dot[key]) for key in whole)


def test_without_its_3dmm_terms_no_face_model_is_needed(runs: Path, data: Path, tmp_path: Path) -> None:
    more = given(runs)[:4]
    assert ran("latent", tmp_path, data, *more, "--ablate", "3dmm-appearance", "3dmm-structure") == 0


@pytest.mark.parametrize("name", ["stylegan2", "latent_encoder"])
def test_a_public_stylegan2_of_another_size_is_refused(
    name: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save({"g_ema": Generator(8).state_dict()}, tmp_path / "faces.pt")
    words = [*QUICK, "--data", str(data), "--output", f"{tmp_path}/run", "--weights", f"{tmp_path}/faces.pt"]
    said = refused([name, *words], capsys)
    assert re.search(r"faces\.pt: .*(lacks|missing)", said), said


class Trap:
    """Would write a file where it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (Path.touch, (self.path,))


def test_a_public_pickle_does_not_run_its_code(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "faces.pkl").write_bytes(pickle.dumps({"G_ema": Trap(tmp_path / "ran")}))
    words = [*QUICK, "--data", str(data), "--output", f"{tmp_path}/run", "--weights", f"{tmp_path}/faces.pkl"]
    assert "faces.pkl" in refused(["stylegan2", *words], capsys)
    assert not (tmp_path / "ran").exists()


def test_lots_are_the_same_again_and_another_each_step_and_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    def drawn(seed: int, pictures: int) -> list[float]:
        random = chain.chance(seed, "stylegan2", pictures, torch.device("cpu"))
        return torch.rand(3, generator=random).tolist()

    assert drawn(0, 16) == drawn(0, 16)
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    other = drawn(0, 16)
    monkeypatch.setenv("RANK", "0")
    assert len({tuple(one) for one in (drawn(0, 16), drawn(0, 32), drawn(1, 16), other)}) == 4


def test_augmented_codes_keep_what_moves_and_change_the_rest() -> None:
    recipe = recipes.get("latent").build(recipes.get("latent").configs["tiny"])
    assert isinstance(recipe, LatentRecipe)
    recipe.moving[:7] = True
    recipe.new_step(0)
    walked = recipe.example(16, torch.device("cpu"))
    with torch.no_grad():
        code = recipe.codes(walked)
        found = recipe.augmented(walked, code)
    # As far as somebody else is on the whole; half as far at most, the mean of that, where it moves.
    apart = (found - code).square().mean((0, 1, 3)).sqrt()
    whole = float(apart[7:].mean())
    assert 0.15 * whole < float(apart[:7].mean()) < 0.4 * whole
