"""Whose network it is."""

from pathlib import Path
from typing import Any

import pytest
import torch

from models import weights
from tests.models.tiny import Tiny
from tests.trainer.runs import run_of, state_of
from trainer.evaluation.weights import network_of


def checkpoint(path: Path, **changed: Any) -> str:
    torch.save(state_of("tiny:narrow", step=3) | changed, path)
    return str(path)


def test_all_kinds_are_taken(tmp_path: Path) -> None:
    network = weights.seeded("tiny:narrow", 3)
    weights.save(network, tmp_path / "tiny.safetensors")
    run = run_of("tiny:narrow", tmp_path / "run", steps=(3,))
    for given in (str(tmp_path / "tiny.safetensors"), checkpoint(tmp_path / "last.pt"), str(run)):
        found = network_of(given)
        assert isinstance(found, Tiny)
        assert weights.digest(found.state_dict()) == weights.digest(network.state_dict())
    assert network_of("warp").spec.name == "warp"


def test_a_run_that_is_called_as_its_model_is_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_of("tiny:narrow", tmp_path / "warp", steps=(3,))
    monkeypatch.chdir(tmp_path)
    assert isinstance(network_of("warp"), Tiny)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"model": 3}, "'model' is a int"),
        ({"model": "nobody"}, "unknown model 'nobody'"),
        ({"ema": None}, "'ema' is a NoneType"),
        ({"ema": {}}, "missing; model tiny:narrow expects"),
        ({"model": "tiny:wide"}, "expects"),
    ],
)
def test_other_checkpoints_are_refused(tmp_path: Path, changed: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words) as raised:
        network_of(checkpoint(tmp_path / "odd.pt", **changed))
    assert "odd.pt" in str(raised.value)


def test_files_that_are_not_there_are_named(tmp_path: Path) -> None:
    for name in ("nowhere.pt", "nowhere.safetensors"):
        with pytest.raises(ValueError, match=f"{name}: there is no such file"):
            network_of(str(tmp_path / name))
