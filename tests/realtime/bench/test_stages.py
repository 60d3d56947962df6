import json
from pathlib import Path

import numpy as np
import pytest
import torch
from aiortc.codecs import vpx

import tests.fakes  # noqa: F401  (registers the generator `flat`)
from realtime._aiortc_compat import bitrate_bounds
from realtime.bench.__main__ import BENCHES, main
from realtime.bench.stages import STAGES, StagesBench, measure
from tests.material import ASTRONAUT, GRID_CLIP


def test_every_stage_is_measured_and_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    out = tmp_path / "stages.json"
    paths = ["--clip", str(GRID_CLIP), "--source", str(ASTRONAUT), "--json", str(out)]
    main(["stages", *paths, "--model", "flat", "--device", "cpu", "--frames", "4"])
    figures = json.loads(out.read_text())
    assert list(figures["stages"]) == [*STAGES, "frame"]
    assert all(0 < row["p50_ms"] <= row["p95_ms"] for row in figures["stages"].values())
    assert figures["frames"] == 4
    assert figures["portrait_s"] > 0
    table = capsys.readouterr().out
    assert all(name in table for name in STAGES)


def test_the_frame_is_what_its_stages_take_together():
    settings = StagesBench(clip=GRID_CLIP, source=(ASTRONAUT,), frames=1, model="flat", device="cpu")
    stages = measure(settings)["stages"]
    ours = [stages[name]["p50_ms"] for name in ("track", "structure", "transfer", "decode", "composite")]
    assert stages["frame"]["p50_ms"] == pytest.approx(np.sum(ours))


def test_codec_and_threads_are_the_servers(monkeypatch: pytest.MonkeyPatch):
    """The bitrate that fits the canvas, and half of the cores."""
    for name in ("MIN_BITRATE", "DEFAULT_BITRATE", "MAX_BITRATE"):
        monkeypatch.setattr(vpx, name, getattr(vpx, name))
    monkeypatch.setattr("os.cpu_count", lambda: 6)
    small = {"clip": GRID_CLIP, "source": (ASTRONAUT,), "frames": 1, "model": "flat", "device": "cpu"}
    StagesBench(**small, canvas="256x256").run()
    bounds = vpx.MIN_BITRATE, vpx.DEFAULT_BITRATE, vpx.MAX_BITRATE
    assert bounds == bitrate_bounds(256, 256)
    assert torch.get_num_threads() == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nonsense"], "unknown measurement 'nonsense'; known: stages, live, quality, networks"),
        (["stages", "--frames", "0"], "frames 0: must be at least 1"),
        (["stages", "--threads", "-1"], "threads -1: must not be negative"),
        (["stages", "--canvas", "big"], "canvas 'big': write it as WxH"),
        (["stages", "--clip", "none.mp4"], "none.mp4: there is no such file"),
        (["networks", "--model", "nonesuch"], "unknown model 'nonesuch'"),
        (["networks", "--model", "imf:huge"], "unknown size 'huge' of model imf"),
        (["networks", "--batch", "0"], "batch 0: must be at least 1"),
        (["networks", "--seconds", "-1"], "seconds -1.0: must not be negative"),
        (["networks", "--mode", "int8"], "int8"),
        (
            ["networks", "--mode", "fp16", "--device", "cpu"],
            "mode fp16: not on device cpu, which has float32",
        ),
        (["live", "--clip", "none.mp4"], "none.mp4: there is no such file"),
        (["live", "--size", "641x480"], "both sides must be even"),
    ],
)
def test_mistakes_end_with_one_line_and_code_2(arguments, message, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1


def test_help_names_every_measurement(capsys: pytest.CaptureFixture[str]):
    main([])
    said = capsys.readouterr().out
    assert all(f"python -m realtime.bench {name}" in said for name in BENCHES)
