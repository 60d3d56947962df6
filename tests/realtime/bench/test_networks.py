import json
from pathlib import Path

import pytest

import tests.models.tiny  # noqa: F401  (registers the network `tiny`)
from models import registry
from realtime.bench.__main__ import main
from realtime.bench.networks import FEWEST, Row, apart, every, measure


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
        assert cost["parameters"] == sum(one.numel() for one in network.parameters())
        assert cost["peak_mb"] > 4 * cost["parameters"] / 1e6
        for median, low, high in (cost["structure_ms"], cost["decode_ms"]):
            assert 0 < low <= median <= high
    table = capsys.readouterr().out
    assert table.count("landmark_gan:64") == 2
    assert "36.3 M" in table


def test_a_row_runs_three_times_at_least_after_the_warm_up(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    decode = registry.get("tiny").decode
    monkeypatch.setattr(registry.get("tiny"), "decode", lambda *a: calls.append(a) or decode(*a))
    cost = measure(Row("tiny:wide", 4, "float32", "cpu", 1, 0.0))
    assert len(calls) == FEWEST + 1
    assert {
        len(tensor) for _, appearance, structure in calls for tensor in (appearance[1], structure[0])
    } == {4}
    assert cost.parameters == sum(one.numel() for one in registry.make("tiny:wide").parameters())


@pytest.mark.parametrize("mode", ["channels_last", "bf16"])
def test_what_runs_on_a_gpu_runs_here_too(mode: str) -> None:
    assert min(measure(Row("tiny", 1, mode, "cpu", 1, 0.0)).decode_ms) > 0


def test_a_row_that_does_not_fit_is_left_out() -> None:
    assert apart(Row("landmark_gan", 10**10, "float32", "cpu", 1, 0.0)) is None


def test_other_mistakes_of_a_row_are_told() -> None:
    with pytest.raises(ValueError, match="unknown model 'nonesuch'"):
        apart(Row("nonesuch", 1, "float32", "cpu", 1, 0.0))


def test_every_size_of_every_network_is_measured() -> None:
    assert set(every()) >= {
        "warp",
        "imf:paper",
        "imf:light",
        "landmark_gan:256",
        "latent:1024",
        "dae_gan:paper",
    }


@pytest.mark.gpu
@pytest.mark.parametrize("mode", ["float32", "channels_last", "bf16"])
def test_a_gpu_counts_its_own_memory(mode: str) -> None:
    cost = apart(Row("landmark_gan", 2, mode, "cuda", 0, 0.1))
    assert cost is not None
    assert cost.peak_mb is not None
    assert cost.peak_mb > 4 * cost.parameters / 1e6
