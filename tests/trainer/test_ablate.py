"""The command that trains and judges ablations, on runs of a few steps."""

import json
from pathlib import Path

import pytest
import torch

from models.identity_embedder import IdentityEmbedder
from models.weights import save_state
from tests.trainer.data.pretender import folder
from trainer import ablate, checkpoint, recipes
from trainer.evaluation.landmarks import Found

SHORT = ["--config", "tiny", "--pictures", "6", "--batch", "2", "--log-every", "2", "--device", "cpu"]
SHORT += ["--samples.held-out", "0.4", "--people", "4", "--landmarks", "none"]


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder(tmp_path_factory.mktemp("faces") / "data", identities=12)


def line(capsys: pytest.CaptureFixture[str]) -> str:
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    return said.err


def test_a_table_holds_every_variant_and_goes_on(
    faces: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "table"
    arguments = ["landmark_gan", *SHORT, "--data", str(faces), "--output", str(output)]
    entry = recipes.get("landmark_gan")
    assert ablate.main([*arguments, "--names", "whole"]) == 0
    first = json.loads((output / "table.json").read_text())
    assert list(first["variants"]) == ["whole"]
    assert first["effects"] == []
    kept = (output / "whole" / "log.jsonl").read_bytes()
    capsys.readouterr()

    assert ablate.main(arguments) == 0
    said = capsys.readouterr().out
    assert f"{output / 'whole'}: " not in said  # it was finished
    assert f"{output / 'without-pixel'}: 6 pictures" in said
    assert (output / "whole" / "log.jsonl").read_bytes() == kept
    table = json.loads((output / "table.json").read_text())
    assert list(table["variants"]) == list(entry.variants)
    assert table["variants"]["whole"] == first["variants"]["whole"]
    for variant in table["variants"].values():
        assert set(variant["figures"]) == {"l1", "psnr", "ssim"}
        assert len(variant["figures"]["l1"]["each"]) == 4
        consistent = not {"self", "consistency"} & set(variant["off"])
        assert ("generator/self" in variant["losses"]) is consistent
    assert table["variants"]["without-pixel"]["losses"]["generator/pixel"] == 0
    assert [effect["part"] for effect in table["effects"]] == list(entry.ablations)
    for effect in table["effects"]:
        means = [table["variants"][effect[key]]["figures"]["l1"]["mean"] for key in ("without", "with")]
        assert effect["changes"]["l1"]["mean"] == pytest.approx(means[0] - means[1])
    for effect in table["effects"]:
        silent = entry.ablations[effect["part"]].metric == ""
        assert effect["verdict"] == ("the paper says nothing" if silent else "not measured")  # without AKD
    for name in ("table.md", "bars-l1.png", "bars-psnr.png", "bars-ssim.png", "pictures.png"):
        assert (output / name).stat().st_size > 0


def test_an_embedder_tells_how_much_of_a_person_is_left(faces: Path, tmp_path: Path) -> None:
    """CSIM beside the truth, and ACED beside the source."""
    save_state(IdentityEmbedder(), tmp_path / "embedder.safetensors")
    arguments = ["landmark_gan", *SHORT, "--data", str(faces), "--output", str(tmp_path / "table")]
    arguments += ["--names", "whole", "--csim-synthetic", str(tmp_path / "embedder.safetensors")]
    assert ablate.main(arguments) == 0
    table = json.loads((tmp_path / "table" / "table.json").read_text())
    figures = table["variants"]["whole"]["figures"]
    assert set(figures) == {"l1", "psnr", "ssim", "csim", "aced"}
    assert all(-1 <= one <= 1 for one in figures["csim"]["each"])
    assert all(one > 0 for one in figures["aced"]["each"])
    assert (tmp_path / "table" / "bars-aced.png").stat().st_size > 0


def test_a_run_that_was_broken_off_goes_on(
    faces: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The last checkpoint is gone, as after a crash: the rest is trained again, to the same end."""
    output = tmp_path / "table"
    arguments = ["landmark_gan", *SHORT, "--checkpoint-every", "2", "--keep", "9", "--data", str(faces)]
    arguments += ["--output", str(output), "--names", "whole"]
    assert ablate.main(arguments) == 0
    before = json.loads((output / "table.json").read_text())
    newest = checkpoint.latest(output / "whole" / "checkpoints")
    assert newest is not None
    newest.unlink()
    assert ablate.main(arguments) == 0
    assert newest.exists()
    after = json.loads((output / "table.json").read_text())
    assert after["variants"]["whole"]["figures"] == before["variants"]["whole"]["figures"]
    capsys.readouterr()
    assert ablate.main([*arguments, "--seed", "1"]) == 2
    assert "was trained with seed 0, not 1" in line(capsys)


def test_a_ladder_draws_the_same_pictures_whatever_it_trains_with(faces: Path, tmp_path: Path) -> None:
    """Rungs below multi-frame take fewer frames of a sample, and are still judged by the same ones."""
    output = tmp_path / "table"
    arguments = ["dae_gan", *SHORT, "--data", str(faces), "--output", str(output)]
    assert ablate.main([*arguments, "--names", "vanilla", "with-smoothness", "whole"]) == 0
    table = json.loads((output / "table.json").read_text())
    assert list(table["variants"]) == ["vanilla", "with-smoothness", "whole"]
    assert [effect["part"] for effect in table["effects"]] == ["smoothness"]
    assert table["effects"][0]["without"] == "vanilla"
    people = [variant["people"] for variant in table["variants"].values()]
    assert people[0] == people[1] == people[2]
    assert "embedders/smoothness" not in table["variants"]["vanilla"]["losses"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nobody"], "unknown recipe 'nobody'"),
        (["imf", "--names", "without-nothing"], "known for imf: whole, without-pixel"),
        (["imf", "--config", "huge"], "config 'huge' is unknown"),
        (["imf", "--initial", "there"], "--initial is the table's own affair"),
        (["imf", "--ablate=pixel"], "--ablate is the table's own affair"),
        (["imf", "--people", "0"], "people 0"),
        (["stylegan2", "--config", "tiny"], "stylegan2 draws nobody in particular"),
        (["imf", "--config", "tiny", "--data", "nowhere", "--landmarks", "none"], "nowhere"),
    ],
)
def test_mistakes_are_one_line(
    arguments: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert ablate.main(arguments) == 2
    assert said in capsys.readouterr().err.splitlines()[-1]
    assert list(tmp_path.rglob("*.json")) == []


def test_a_picture_without_a_face_counts_as_the_worst_of_all_variants() -> None:
    """By hand, in pixels of 256: one variant is off by 3/4 and 4/4 of the picture, which is 1.25 of its side;
    the other shows no face, whose box would be smaller."""
    places = torch.zeros(1, 68, 2)
    places[:, 1] = 0.1
    off = Found(places + torch.tensor([0.75, 1.0]), torch.tensor([True]))
    faceless = Found(torch.zeros(1, 68, 2), torch.tensor([False]))
    found = ablate.distances_of({"off": off, "faceless": faceless}, places)
    assert found["off"] == found["faceless"] == [pytest.approx(1.25 * 256, rel=1e-6)]
