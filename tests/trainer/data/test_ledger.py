import json

import pytest

from trainer.data.ledger import NO_FACE, UNREADABLE, Ledger, Outcome, Part
from trainer.data.quality import Limits

SETTINGS = {**Limits().model_dump(), "fps": 25.0}
KEPT = Part(id="a+000", frames=40, first=0, last=39)
SMALL = Part(id="a+001", frames=35, first=50, last=84, broke="min_side", figure=90.0, limit=128.0)
USED = Outcome(clip="a", source="in/a.mp4", frames=90, faceless=5, parts=(KEPT, SMALL))
LOST = Outcome(clip="b", source="in/b.mp4", reason=UNREADABLE, detail="in/b.mp4 is not a video")


def test_outcomes_are_there_again(tmp_path):
    ledger = Ledger(tmp_path, "videos", SETTINGS)
    ledger.add(USED)
    ledger.add(LOST)
    again = Ledger(tmp_path, "videos", SETTINGS)
    assert (again.get("a"), again.get("b"), again.get("c")) == (USED, LOST, None)


def test_the_last_word_on_a_clip_counts(tmp_path):
    Ledger(tmp_path, "videos", SETTINGS).add(USED.model_copy(update={"reason": UNREADABLE, "parts": ()}))
    Ledger(tmp_path, "videos", SETTINGS).add(USED)
    ledger = Ledger(tmp_path, "videos", SETTINGS)
    assert ledger.report("t", "l")["clips"] == {"found": 1, "used": 1}


@pytest.mark.parametrize("cut", [1, 20, 100])
def test_a_line_that_was_cut_short_is_done_again(tmp_path, cut):
    ledger = Ledger(tmp_path, "videos", SETTINGS)
    ledger.add(LOST)
    ledger.add(USED)
    path = tmp_path / "outcomes.jsonl"
    path.write_bytes(path.read_bytes()[:-cut])
    again = Ledger(tmp_path, "videos", SETTINGS)
    assert (again.get("a"), again.get("b")) == (None, LOST)
    again.add(USED)
    assert Ledger(tmp_path, "videos", SETTINGS).get("a") == USED


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_names_of_any_letters_are_kept_and_cut_short(tmp_path, cut):
    """Within a letter of several bytes too; some end a line elsewhere."""
    odd = Outcome(clip="c", source="in/\u2028\x85 é" + "é" * 40)
    ledger = Ledger(tmp_path, "videos", SETTINGS)
    ledger.add(odd)
    ledger.add(odd.model_copy(update={"clip": "d", "reason": UNREADABLE}))
    path = tmp_path / "outcomes.jsonl"
    path.write_bytes(path.read_bytes()[:-cut])
    again = Ledger(tmp_path, "videos", SETTINGS)
    assert (again.get("c"), again.get("d")) == (odd, None)
    assert Ledger(tmp_path, "videos", SETTINGS).get("c") == odd


def test_a_damaged_ledger_is_told(tmp_path):
    Ledger(tmp_path, "videos", SETTINGS).add(USED)
    path = tmp_path / "outcomes.jsonl"
    path.write_text(path.read_text() + "nonsense\n")
    with pytest.raises(ValueError, match=r"outcomes\.jsonl is damaged: delete it"):
        Ledger(tmp_path, "videos", SETTINGS)


def test_other_settings_are_another_data_set(tmp_path):
    Ledger(tmp_path, "videos", SETTINGS)
    with pytest.raises(ValueError, match=r"other settings \(fps 25\.0, now 30\.0\): take another output"):
        Ledger(tmp_path, "videos", {**SETTINGS, "fps": 30.0})
    with pytest.raises(ValueError, match="videos, not stills"):
        Ledger(tmp_path, "stills", SETTINGS)


def test_the_report_counts_and_says_why(tmp_path):
    ledger = Ledger(tmp_path, "videos", SETTINGS)
    for outcome in (USED, LOST, Outcome(clip="c", source="in/c.mp4", frames=9, faceless=9, reason=NO_FACE)):
        ledger.add(outcome)
    report = ledger.report("Videos of in", "videos")
    assert report == json.loads((tmp_path / "report.json").read_text())
    assert report["clips"] == {"found": 3, "used": 1}
    assert report["kept"] == {"shots": 1, "frames": 40}
    assert report["left_out"] == {"too small": 1, "unreadable": 1, "no face": 1}
    assert report["frames_without_face"] == 14
    words = (tmp_path / "report.md").read_text()
    assert "| too small | 1 | `--min-side`, now 128 |" in words
    assert "| a+001 | too small | 90, limit 128; frames 50 to 84 of in/a.mp4 |" in words
    assert "| b | unreadable | in/b.mp4 is not a video |" in words


def test_remarks_are_told(tmp_path):
    ledger = Ledger(tmp_path, "stills", SETTINGS)
    ledger.add(Outcome(clip="a", source="a.png", parts=(KEPT,), detail="there are 2 faces"))
    ledger.report("t", "l", ["a motion was left out"])
    words = (tmp_path / "report.md").read_text()
    assert "- a motion was left out\n- a: there are 2 faces" in words
