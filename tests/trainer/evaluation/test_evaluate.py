"""The command, and what it leaves."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from models import weights
from tests.models.tiny import Tiny
from tests.trainer.data import pretender
from trainer import evaluate
from trainer.evaluation import record, report

SMALL = ("--identities", "2", "--motions", "1", "--frames", "2", "--size", "48")
EXPERIMENTS = ("crossing_synthetic", "self_synthetic")


def tiny(folder: Path) -> str:
    path = folder / "tiny.safetensors"
    weights.save(weights.seeded(f"{Tiny.spec.name}:narrow"), path)
    return str(path)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("evaluation")
    asked = ["--weights", tiny(folder), "--output", str(folder / "out"), *SMALL]
    assert evaluate.main([*asked, "--probes", "4", "--landmarks", "none", "--pictures"]) == 0
    return folder / "out"


@pytest.fixture
def document(written: Path) -> dict[str, Any]:
    return record.load(written / "metrics.json")


def test_every_figure_stands_beside_both_baselines(document: dict[str, Any]) -> None:
    assert tuple(document["experiments"]) == EXPERIMENTS
    for experiment in document["experiments"].values():
        for figure in experiment["figures"]:
            for shown in ("drawn", "copy", "mean_face"):
                found = figure[shown]
                assert found["n"] == 4
                assert found["groups"] == 2
                assert found["low"] <= found["mean"] <= found["high"]
    assert document["settings"]["seed"] == 0
    assert set(document["steadiness"]) == {"network", "copy", "mean", "truth"}
    assert set(document["probes"]["motion_r2_synthetic"]) == {"structure", "appearance"}


def test_what_isn_t_there_is_said_and_not_replaced(written: Path, document: dict[str, Any]) -> None:
    page = (written / "report.md").read_text(encoding="utf-8")
    for name in ("lpips_alex", "csim_synthetic", "fid_inception", "fvd_i3d", "aced_l1", "csim"):
        assert document["brought"][name].startswith("not available: give PATH")
        assert f"| {name} | not available: give PATH" in page
    assert "no AKD" in document["landmarks"]


def test_clips_are_told_one_by_one(written: Path, document: dict[str, Any]) -> None:
    clips = json.loads((written / "clips.json").read_text(encoding="utf-8"))["clips"]
    assert [one["experiment"] for one in clips] == [name for name in EXPERIMENTS for _ in range(2)]
    for name in EXPERIMENTS:
        own = [one["figures"]["l1_whole"] for one in clips if one["experiment"] == name]
        figures = {one["name"]: one for one in document["experiments"][name]["figures"]}
        assert sum(own) / 2 == pytest.approx(figures["l1_whole"]["drawn"]["mean"])
    assert all(one["driver"] != one["clip"] for one in clips[:2])


def test_the_pages_show_their_pictures(written: Path, document: dict[str, Any]) -> None:
    html = (written / "report.html").read_text(encoding="utf-8")
    for name in EXPERIMENTS:
        file = f"pictures/{name}.png"
        assert f'<img src="{file}"' in html
        assert f"({file})" in (written / "report.md").read_text(encoding="utf-8")
        with Image.open(written / file) as picture:
            assert picture.width > 6 * 128
        assert len(list((written / "pictures" / name).glob("*-drawn.png"))) == 4
    assert report.html(document) == html, "the page is made of metrics.json"


def test_videos_are_written_frame_by_frame(tmp_path: Path) -> None:
    asked = ["--weights", tiny(tmp_path), "--output", str(tmp_path / "out"), "--protocol", "sequences"]
    small = ["--sequences", "2", "--sequence-frames", "2", "3", "--size", "32", "--landmarks", "none"]
    assert evaluate.main([*asked, *small, "--pictures"]) == 0
    document = record.load(tmp_path / "out" / "metrics.json")
    assert tuple(document["experiments"]) == ("sequences_synthetic",)
    found = document["experiments"]["sequences_synthetic"]
    assert document["settings"]["style"] == "talking"
    assert found["sequences"] == 2
    assert set(found["steadiness"]) == {"network", "copy", "mean", "truth"}
    clips = json.loads((tmp_path / "out" / "clips.json").read_text(encoding="utf-8"))["clips"]
    lengths = [one["pictures"] for one in clips]
    assert found["frames"] == [min(lengths), max(lengths)]
    for number, length in enumerate(lengths):
        folder = tmp_path / "out" / "pictures" / "sequences_synthetic" / f"{number:03d}"
        expected = {f"{frame:05d}-{what}.png" for frame in range(length) for what in ("drawn", "truth")}
        assert {path.name for path in folder.iterdir()} == {*expected, "source.png"}
    page = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    assert "|  | AKD, px | 95 % | ACED, our embedder's | 95 % | ACED, brought |" in page
    assert report.markdown(document) == page


def test_figures_survive_being_written(tmp_path: Path) -> None:
    document = {"format": record.FORMAT, "a": math.inf, "b": [1.5, -math.inf, None], "c": {"d": "text"}}
    record.save(tmp_path / "metrics.json", document)
    assert record.load(tmp_path / "metrics.json") == document
    assert "Infinity" not in (tmp_path / "metrics.json").read_text(encoding="utf-8")
    record.save(tmp_path / "other.json", {"format": 99})
    with pytest.raises(ValueError, match=r"other\.json: not figures"):
        record.load(tmp_path / "other.json")


def test_a_folder_is_reenacted_with_its_own_motion(tmp_path: Path) -> None:
    folder = pretender.folder(tmp_path / "data", identities=24)
    asked = ["--weights", tiny(tmp_path), "--data", str(folder), "--output", str(tmp_path / "out")]
    assert evaluate.main([*asked, "--landmarks", "none", "--frames", "2"]) == 0
    assert tuple(record.load(tmp_path / "out" / "metrics.json")["experiments"]) == ("self_synthetic",)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (["--weights", "nowhere.pt"], "nowhere.pt: there is no such file"),
        (["--weights", "imf"], "model imf needs --weights"),
        (["--weights", "warp", "--frames", "0"], "frames 0: expected at least 1"),
        (["--weights", "warp", "--motions", "9", "--identities", "9"], "9 motions for each of 9 people"),
        (["--weights", "warp", "--landmarks", "nowhere"], "nowhere: there is no such file"),
        (["--weights", "warp", "--csim", "nowhere.pt"], "nowhere.pt"),
        (["--weights", "warp", "--data", "nowhere"], "nowhere is no prepared data set"),
        (["--weights", "warp", "--held-out", "2"], "held-out 2: expected a share"),
        (["--weights", "warp", "--sequence-frames", "9", "3"], "sequence-frames 9 3: expected the fewest"),
        (["--weights", "warp", "--sequences", "0"], "sequences 0: expected at least 1"),
        (
            ["--weights", "warp", "--data", "nowhere", "--protocol", "sequences"],
            "nowhere is no prepared data set",
        ),
    ],
)
def test_what_can_t_be_measured_is_told_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], asked: list[str], words: str
) -> None:
    try:
        code = evaluate.main([*asked, "--output", str(tmp_path / "out")])
    except SystemExit as end:  # of what the settings refuse
        code = end.code
    said = capsys.readouterr().err
    assert code == 2
    assert words in said
    assert len(said.strip().splitlines()) == 1


def test_folders_that_hold_something_are_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "kept.txt").write_text("mine", encoding="utf-8")
    assert evaluate.main(["--weights", "warp", "--output", str(tmp_path)]) == 2
    assert "is not empty; expected a folder, new or empty" in capsys.readouterr().err
    assert [one.name for one in tmp_path.iterdir()] == ["kept.txt"]


def test_the_papers_figures_say_that_they_were_not_reproduced() -> None:
    from trainer.evaluation.papers import reported

    assert reported("imf", "self_synthetic", "psnr_whole").endswith("not reproduced (other data)")
    assert reported("imf", "crossing_synthetic", "psnr_whole") == ""
    assert reported("warp", "self", "psnr_whole") == ""
    assert reported("latent", "sequences_synthetic", "akd_l2_256").startswith("1.928 VoxCeleb2")
    assert reported("latent", "self_synthetic", "akd_l2_256") == "", "it is of another protocol"
