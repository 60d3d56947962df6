import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

import tests.models.tiny  # noqa: F401  (registers the network `tiny`)
from models import registry
from realtime.bench import costs, networks
from realtime.bench.__main__ import main
from realtime.bench.costs import MODES, WHOLE, Cost, Failure, Row
from realtime.bench.gpus import floor_of
from realtime.bench.networks import NetworksBench, every, show
from realtime.bench.report import WIDTH, machine


def test_each_network_has_a_row_of_each_batch(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "networks.json"
    batches = ["--batch", "1", "--batch", "2"]
    main(
        ["networks", "--model", "landmark_gan:64", *batches, "--device", "cpu", "--seconds", "0"]
        + ["--threads", "1", "--json", str(out)]
    )
    figures = json.loads(out.read_text())
    rows = figures["rows"]
    assert [(row["model"], row["batch"], row["mode"]) for row in rows] == [
        ("landmark_gan:64", 1, "float32"),
        ("landmark_gan:64", 2, "float32"),
    ]
    assert figures["threads"] == 1
    network = registry.make("landmark_gan:64")
    for row in rows:
        cost = row["cost"]
        assert row["failure"] is None
        assert cost["parameters"] == sum(one.numel() for one in network.parameters())
        assert cost["peak_mb"] > 4 * cost["parameters"] / 1e6
        # The heat maps have no parameters: all that can be told is the generator.
        assert {call: list(found) for call, found in cost["modules_ms"].items()} == {
            "appearance": [],
            "structure": [],
            "decode": ["generator"],
        }
        generator = cost["modules_ms"]["decode"]["generator"]
        for median, low, high in (cost["structure_ms"], cost["decode_ms"], cost["frame_ms"], generator):
            assert 0 < low <= median <= high
        assert cost["frame_ms"][0] > cost["decode_ms"][1]
    table = capsys.readouterr().out
    assert table.count("landmark_gan:64") == 2 + 2
    assert table.count("generator") == 2
    assert "36.3 M" in table


def test_a_mode_that_fails_leaves_the_others_their_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def capture(*_: object) -> None:
        raise RuntimeError("CUDA error: operation not permitted when stream is capturing")

    monkeypatch.setattr(costs, "Captured", capture)
    monkeypatch.setattr(networks, "apart", costs.attempt)  # where it is patched
    monkeypatch.setitem(MODES, "cpu", ("float32", "fp16_captured", "fp16", "bf16"))
    out = tmp_path / "networks.json"
    chosen = [part for mode in ("fp16_captured", "fp16") for part in ("--mode", mode)]
    main(
        ["networks", "--model", "tiny", "--batch", "2", *chosen, "--device", "cpu", "--seconds", "0"]
        + ["--threads", "1", "--json", str(out)]
    )
    failed, done = json.loads(out.read_text())["rows"]
    assert (failed["mode"], failed["cost"]) == ("fp16_captured", None)
    assert failed["failure"]["word"] == "not captured"
    assert (done["mode"], done["failure"]) == ("fp16", None)
    assert done["cost"]["modules_ms"]["decode"].keys() == {"scale", "picture"}
    said = capsys.readouterr().out
    assert "not captured" in said
    assert "tiny, batch 2, fp16_captured: RuntimeError: CUDA error: operation not permitted" in said


def figures(models: Sequence[str]) -> dict[str, Any]:
    """As a GPU's could be, with numbers as long as they get."""
    spread = 194748.8, 188906.3, 204486.2
    rows = []
    for model in models:
        for mode in MODES["cuda"]:
            apart = mode != "fp16_captured"
            modules = {} if mode in WHOLE else {"decode": {"generator": spread, "stitching": (0.3, 0.2, 0.4)}}
            part = spread if apart else None
            cost = asdict(Cost(303_300_000, part, part, spread, modules, 12345.6))
            row = asdict(Row(model, 8, mode, "cuda", 0, 3.0))
            rows.append(row | {"cost": cost, "failure": None, "floor_ms": 0.00123, "gap": 158332357.7})
        rows[-2] |= {
            "cost": None,
            "gap": None,
            "failure": asdict(Failure("not compiled", "InductorError: " + "no " * 99)),
        }
    return {"device": "NVIDIA H200", "cores": 16, "threads": 8, "torch": "2.11.0+cu130", "rows": rows}


def test_the_tables_of_a_gpu_fit_and_nothing_is_broken(
    capsys: pytest.CaptureFixture[str],
) -> None:
    longest = max(every(), key=len)
    show(figures([longest, "tiny"]))
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= WIDTH
    rows = [line.split() for line in lines if line.startswith((f"{longest} ", "tiny "))]
    modes = len(MODES["cuda"])
    gaps = [row for row in rows if "0.0012" in row]
    assert gaps[0] == [longest, "8", "float32", "0.0012", "194749", "158332358"]
    assert len(gaps) == 2 * (modes - 1), "of the modes that have a time"
    rows = [row for row in rows if row not in gaps]
    whole, modules = rows[:modes], rows[2 * modes : 2 * modes + 2]
    assert len(rows) == 2 * modes + 2 * 2
    assert whole[0] == [
        longest,
        "303.3",
        "M",
        "8",
        "float32",
        *["194749"] * 3,
        "188906–204486",
        "12346",
    ]
    assert whole[-2] == [longest, "8", "fp16_compiled", "not", "compiled"]
    assert whole[-1][4:] == [
        "fp16_captured",
        "–",
        "–",
        "194749",
        "188906–204486",
        "12346",
    ]
    assert modules == [
        [longest, "8", "decode", "generator", *["194749"] * 4],
        [longest, "8", "decode", "stitching", *["0.30"] * 4],
    ]
    assert sum("structure and decode were captured as one piece" in line for line in lines) == 1
    assert (
        sum(line.startswith(f"{longest}, batch 8, fp16_compiled: InductorError: no no") for line in lines)
        == 1
    )


def test_rows_of_a_known_gpu_have_a_floor(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(networks, "apart", lambda row: Cost(1, None, None, (4.0, 3.0, 5.0), {}, None))
    bench = NetworksBench(("tiny",), batch=(8,), device="cpu")
    (here,) = bench.measure()["rows"]
    assert (here["floor_ms"], here["gap"]) == (None, None)
    show(bench.measure())
    assert "floor" not in capsys.readouterr().out
    monkeypatch.setattr(networks, "machine", lambda device: {**machine(device), "device": "Tesla T4"})
    figures = bench.measure()
    (there,) = figures["rows"]
    assert there["floor_ms"] == floor_of("tiny", 8, "float32", "Tesla T4")
    assert there["gap"] == 4.0 / there["floor_ms"]
    show(figures)
    assert "floor" in capsys.readouterr().out


def test_every_size_of_every_network_is_measured() -> None:
    assert set(every()) >= {
        "warp",
        "imf:paper",
        "imf:light",
        "landmark_gan:256",
        "latent:1024",
        "dae_gan:paper",
    }
