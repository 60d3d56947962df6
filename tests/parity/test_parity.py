"""The command that compares with the originals, on fixtures made here, and on theirs where those are."""

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tests.material import shared_folder
from tests.parity import __main__ as command
from tests.parity import recipe
from tests.parity.golden import Golden

OUTPUT = np.linspace(-1, 1, 24).reshape(2, 3, 4).astype(np.float32)


def fixture(folder: Path, net: str, **outputs: np.ndarray) -> None:
    """As the fixtures' makers write them, of a network without parameters."""
    data: dict[str, np.ndarray] = {}
    described = {}
    for name, value in outputs.items():
        stride, data[name], data[f"{name}__stats"] = recipe.summarise(value, 10)
        described[name] = {"shape": list(value.shape), "stride": stride, "atol": 1e-4, "rms_tol": 1e-5}
    np.savez(folder / f"{net}.npz", **data)
    parts = {net: {"keys": {}, "filled_sha256": recipe.digest({})}}
    sidecar = {"net": net, "tag": "public", "parts": parts, "inputs": [], "outputs": described}
    (folder / f"{net}.json").write_text(json.dumps(sidecar))


def module(net: str, got: Callable[[], dict[str, Any]]) -> SimpleNamespace:
    def rows(folder: Path) -> list[Any]:
        return [(f"{net}:{name}", *row) for name, *row in Golden(str(folder), net).compare(got())]

    return SimpleNamespace(NETS=(net,), rows=rows)


def broken() -> dict[str, Any]:
    raise RuntimeError("no such layer")


@pytest.mark.parametrize(
    ("got", "code", "said"),
    [
        (lambda: {"image": OUTPUT, "w": OUTPUT}, 0, ["ok       toy:image", "ok       toy:w"]),
        (lambda: {"image": OUTPUT + 1e-3, "w": OUTPUT}, 1, ["FAIL     toy:image", "max 1.0e-03 of 1.0e-04"]),
        (lambda: {"image": OUTPUT + np.float32(3e-5), "w": OUTPUT}, 1, ["FAIL     toy", "rms 3.0e-05 of"]),
        (lambda: {"image": OUTPUT * np.nan, "w": OUTPUT}, 1, ["FAIL     toy:image"]),
        (lambda: {"image": OUTPUT[0], "w": OUTPUT}, 1, ["FAIL     toy", "shape (3, 4) instead of (2, 3,"]),
        (lambda: {"image": OUTPUT}, 1, ["ok       toy:image", "FAIL     toy:w", "was not compared"]),
        (broken, 1, ["FAIL     toy", "RuntimeError: no such layer"]),
    ],
)  # fmt: skip
def test_what_differs_fails(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    got: Callable[[], dict[str, Any]],
    code: int,
    said: list[str],
) -> None:
    fixture(tmp_path, "toy", image=OUTPUT, w=OUTPUT)
    monkeypatch.setattr(command, "modules", lambda: [module("toy", got)])
    assert command.main([str(tmp_path)]) == code
    printed = capsys.readouterr().out
    assert all(words in printed for words in said), printed


def test_networks_without_code_are_missing_and_those_without_a_fixture_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fixture(tmp_path, "toy", image=OUTPUT)
    fixture(tmp_path, "later", image=OUTPUT)
    (tmp_path / "metrics.json").write_text('{"net": "metrics", "values": {}}')
    modules = [module("toy", lambda: {"image": OUTPUT}), module("absent", broken)]
    monkeypatch.setattr(command, "modules", lambda: modules)
    assert command.main([str(tmp_path)]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert [text.split()[:2] for text in printed] == [["ok", "toy:image"], ["missing", "later"]]


def test_a_folder_without_fixtures_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(SystemExit) as end:
            command.main([str(folder)])
        assert end.value.code == 2
        assert "no fixtures there" in capsys.readouterr().err


def test_the_recipe_draws_what_it_did() -> None:
    drawn = recipe.rng("public", "first.conv.weight").standard_normal(4)
    assert drawn == pytest.approx([0.88632893, -0.76401814, 0.07948531, 1.18261712], abs=1e-8)


@pytest.mark.parametrize("ours", command.modules(), ids=lambda ours: ours.__name__.rpartition(".")[2])
def test_we_compute_what_the_originals_do(ours: ModuleType) -> None:
    folder = shared_folder("golden/public")
    rows = list(command.checked(ours, folder, set(ours.NETS)))
    assert {row[0].partition(":")[0] for row in rows} == set(ours.NETS)
    assert not [command.line(row) for row in rows if not row[1]]
