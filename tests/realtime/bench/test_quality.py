"""The whole measurement, on a real face."""

import json
from pathlib import Path

import pytest
from PIL import Image

from realtime.bench.__main__ import main
from realtime.bench.quality import QualityBench

MEDIA = Path(__file__).parents[2] / "media"
CLIP = MEDIA / "grid_brbk7n.mp4"


def test_a_painting_driven_by_a_speaker(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The avatar comes closer to the clip than a still does, and blinks with its driver."""
    report, sheet = tmp_path / "report.json", tmp_path / "sheet.jpg"
    QualityBench(
        clips=(CLIP,),
        portraits=(MEDIA / "mona_lisa.jpg",),
        frames=25,
        json=report,
        sheet=sheet,
        save=tmp_path,
    ).run()
    figures = json.loads(report.read_text())
    (own,) = figures["self"]
    assert own["psnr"] > own["static_psnr"] + 1
    assert own["akd"] < own["static_akd"] / 2
    assert own["face"] == 1
    (pair,) = figures["across"]
    assert pair["face"] == 1
    assert pair["lids"]["correlation"] > 0.8
    assert figures["summary"]["lids"]["pairs"] == 1
    with Image.open(sheet) as picture:
        assert picture.width > 6 * 192
    assert {path.name for path in tmp_path.glob("*.mp4")} == {
        "grid_brbk7n-self.mp4",
        "grid_brbk7n-mona_lisa.mp4",
    }
    assert "Self-reenactment" in capsys.readouterr().out


def test_a_still_avatar_scores_as_a_still_picture(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    QualityBench(clips=(CLIP,), across=False, still=True, frames=10, json=report).run()
    (own,) = json.loads(report.read_text())["self"]
    assert own["psnr"] == pytest.approx(own["static_psnr"], abs=0.2)


def test_the_offline_tools_file_is_compared_with_the_clip_before_it_was_coded(tmp_path: Path) -> None:
    """Two codecs on the way cost something, and leave the avatar closer than a still."""
    rows = []
    for files in (False, True):
        report = tmp_path / f"{files}.json"
        QualityBench(clips=(CLIP,), across=False, files=files, frames=15, json=report).run()
        rows += json.loads(report.read_text())["self"]
    frames, files = rows
    assert files["frames"] == frames["frames"] == 15
    assert files["static_psnr"] == frames["static_psnr"]
    assert frames["static_psnr"] + 1 < files["psnr"] < frames["psnr"]
    assert files["face"] == 1


def test_without_the_wider_collection_the_projects_own_media_are_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("REENACT_SHARED", str(tmp_path))
    monkeypatch.chdir(MEDIA.parents[1])
    report = tmp_path / "report.json"
    QualityBench(self_reenactment=False, frames=6, json=report).run()
    pairs = [(row["portrait"], row["clip"]) for row in json.loads(report.read_text())["across"]]
    assert pairs == [("astronaut", "grid_brbk7n"), ("mona_lisa", "grid_brbk7n")]
    said = capsys.readouterr().out
    assert f"no driving in {tmp_path / 'media/driving'}: taken are tests/media/grid_brbk7n.mp4\n" in said


def test_a_missing_clip_ends_with_one_line_and_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["quality", "--no-across", "--clips", "none.mp4"])
    assert end.value.code == 2
    *_, last = capsys.readouterr().err.splitlines()
    assert last == "python -m realtime.bench quality: none.mp4: there is no such file"


def test_a_clip_or_a_portrait_has_to_be_named_where_there_are_no_media_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REENACT_SHARED", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="no clips"):
        QualityBench().run()
    with pytest.raises(ValueError, match="no portraits"):
        QualityBench(clips=(CLIP,)).run()


def test_a_portrait_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    path = tmp_path / "grey.png"
    Image.new("RGB", (200, 200), (128, 128, 128)).save(path)
    with pytest.raises(ValueError, match=r"grey\.png: no face"):
        QualityBench(clips=(CLIP,), portraits=(path,), self_reenactment=False).run()
