"""The whole measurement, on a real face."""

import json
from pathlib import Path

import pytest
from PIL import Image

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


def test_a_clip_or_a_portrait_has_to_be_named_where_there_is_no_media_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REENACT_SHARED", str(tmp_path))
    with pytest.raises(ValueError, match="no clips"):
        QualityBench().run()
    with pytest.raises(ValueError, match="no portraits"):
        QualityBench(clips=(CLIP,)).run()


def test_a_portrait_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    path = tmp_path / "grey.png"
    Image.new("RGB", (200, 200), (128, 128, 128)).save(path)
    with pytest.raises(ValueError, match=r"grey\.png: no face"):
        QualityBench(clips=(CLIP,), portraits=(path,), self_reenactment=False).run()
