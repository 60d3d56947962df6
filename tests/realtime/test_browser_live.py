"""The live measurement itself, for a few seconds: what it measures is there, whatever it comes to."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from realtime.bench.chromium import find_chromium
from realtime.bench.live import LiveBench
from tests.realtime import browsing

pytestmark = pytest.mark.browser


@pytest.fixture(autouse=True)
def _needs_chromium() -> None:
    try:
        find_chromium()
    except ValueError as error:
        pytest.skip(str(error))


def run_until_enough(bench: LiveBench) -> None:
    """Run, and again for twice as long where too few frames came back in that time."""
    while True:
        try:
            return bench.run()
        except ValueError as error:
            if "frames came back" not in str(error) or 1e3 * bench.seconds > browsing.PATIENCE_MS:
                raise
        bench = replace(bench, seconds=2 * bench.seconds)


@pytest.mark.parametrize("echo", [False, True], ids=["avatar", "echo"])
def test_a_short_run(echo: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "live.json"
    bench = LiveBench(
        seconds=4, warm_up=1, fps=15, clip=browsing.CLIP, source=browsing.ASTRONAUT, echo=echo, json=file
    )
    run_until_enough(bench)
    report = json.loads(file.read_text())
    assert 0 < report["p50_ms"] <= report["p95_ms"]
    assert 0 < report["fps"] < 20
    assert 0 <= report["dropped"] < 1
    assert report["matched"] >= 12
    assert report["unread"] <= 0.05 * report["matched"]
    assert bool(report["stages_ms"]) is not echo
    assert "glass to glass, p95" in capsys.readouterr().out


@pytest.mark.parametrize("size", ["640", "641x480", "bigxsmall"])
def test_a_size_that_is_none_is_refused(size: str) -> None:
    with pytest.raises(ValueError, match=r"WxH|must be even"):
        LiveBench(size=size, clip=browsing.CLIP).measure()


def test_a_clip_that_is_not_there_is_named() -> None:
    with pytest.raises(ValueError, match=r"nowhere\.mp4"):
        LiveBench(clip=Path("nowhere.mp4")).measure()
