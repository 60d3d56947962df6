import json
from pathlib import Path

import pytest

import tests.models.tiny  # noqa: F401  (registers the network `tiny`)
from models.work import Work, work
from realtime.bench.__main__ import main
from realtime.bench.gpus import GPUS, Gpu, floor_ms, floor_of, limit
from realtime.bench.report import WIDTH

ROUND = Gpu("round", {"fp16": 100.0, "tf32": 50.0, "float32": 10.0}, 2.0)


def test_the_least_is_what_takes_longer() -> None:
    counting = Work(macs=10**12, numbers=10**9)  # 20, 40, 200 ms; 1, 2, 2 ms
    assert [floor_ms(counting, ROUND, kind) for kind in ("fp16", "tf32", "float32")] == [20, 40, 200]
    moving = Work(macs=10**9, numbers=10**9)
    assert [floor_ms(moving, ROUND, kind) for kind in ("fp16", "tf32", "float32")] == [1, 2, 2]
    assert (limit(counting, ROUND, "fp16"), limit(moving, ROUND, "fp16")) == ("arithmetic", "memory")


def test_a_mode_has_the_floor_of_its_arithmetic() -> None:
    least, h200 = work("tiny", 8), GPUS["H200"]
    for mode in ("bf16", "fp16", "fp16_compiled", "fp16_captured"):
        assert floor_of("tiny", 8, mode, "NVIDIA H200") == floor_ms(least, h200, "fp16")
    for mode in ("float32", "channels_last"):
        assert floor_of("tiny", 8, mode, "NVIDIA H200") == floor_ms(least, h200, "tf32")
    warp = floor_ms(work("warp", 1), h200, "tf32")
    assert floor_of("warp", 1, "fp16_captured", "NVIDIA H200") == warp, "it is never less precise"


@pytest.mark.parametrize("device", ["cpu", "NVIDIA H100 PCIe", "NVIDIA H200 MIG 1g.18gb", "NVIDIA L40S"])
def test_a_device_that_is_not_known_has_no_floor(device: str) -> None:
    assert floor_of("tiny", 1, "fp16", device) is None


def test_peaks_are_in_order() -> None:
    """Tensor cores are not slower than the others, nor half as long numbers."""
    for gpu in GPUS.values():
        assert gpu.tflops["fp16"] > gpu.tflops["tf32"] >= gpu.tflops["float32"] > gpu.tb_s


def test_the_command_needs_no_gpu(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "floors.json"
    main(["floors", "--gpu", "L40", "--model", "landmark_gan:64", "--model", "warp", "--json", str(out)])
    figures = json.loads(out.read_text())
    assert figures["gpu"] == "NVIDIA L40"
    rows = figures["rows"]
    assert [(row["model"], row["batch"]) for row in rows] == [
        (model, batch) for model in ("landmark_gan:64", "warp") for batch in (1, 8)
    ]
    one, eight = rows[:2]
    assert eight["macs"] == 8 * one["macs"]
    assert one["floor_ms"]["fp16"] < eight["floor_ms"]["fp16"] < 8 * one["floor_ms"]["fp16"], (
        "weights are shared"
    )
    assert [list(row["floor_ms"]) for row in rows[1:3]] == [["fp16", "tf32", "float32"], ["tf32", "float32"]]
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= WIDTH
    assert "computed, not measured" in lines[0]
    assert lines[-1].split()[4] == "–"


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--gpu", "H300"], "unknown GPU 'H300'; known: H200, H100"),
        (["--model", "nonesuch"], "unknown model 'nonesuch'"),
        (["--batch", "0"], "batch 0: must be at least 1"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(
    arguments: list[str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        main(["floors", *arguments])
    assert end.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert reason in line
