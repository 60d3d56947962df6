import json
from pathlib import Path

import pytest
import torch

import tests.models.tiny  # noqa: F401  (registers the network `tiny`)
from realtime.bench import costs, gpu, networks, sessions
from realtime.bench.gpu import MODELS, main


def test_one_file_has_all_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Played here, in this process, where `tiny` is known."""
    monkeypatch.setattr(gpu, "SESSIONS_S", 0.05)
    monkeypatch.setattr(gpu, "NETWORKS_S", 0.0)
    monkeypatch.setattr(sessions, "WARM_UP_S", 0.05)
    monkeypatch.setattr(sessions, "in_own_process", lambda function, trial: function(trial))
    monkeypatch.setattr(networks, "apart", costs.attempt)
    out = tmp_path / "gpu.json"
    assert main(["--model", "tiny", "--device", "cpu", "--json", str(out)]) == 0
    figures = json.loads(out.read_text())
    (played,), costed = figures["sessions"]["models"], figures["networks"]["rows"]
    assert played["loads"][0]["sessions"] == 1
    assert {(row["model"], row["batch"]) for row in costed} == {("tiny", 1), ("tiny", 8)}
    said = capsys.readouterr().out
    assert "carried" in said
    assert "structure" in said


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        pytest.param(
            [],
            "device cuda: not there",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device"),
        ),
        (["--model", "nonesuch", "--device", "cpu"], "unknown model 'nonesuch'"),
    ],
)
def test_what_is_not_there_is_told_in_one_line(
    arguments: list[str], reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "gpu.json"
    assert main([*arguments, "--json", str(out)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"python -m realtime.bench.gpu: {reason}")
    assert not out.exists()


def test_all_generators_are_measured() -> None:
    from models import registry

    assert {model.partition(":")[0] for model in MODELS} == set(registry.MODULES)
    for model in MODELS:
        registry.parse(model)
