"""The command, and its ranks under torchrun."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.trainer import small_runs as runs
from tests.trainer.data.pretender import folder
from tests.trainer.small_runs import curve, words
from trainer import checkpoint, journal, recipes
from trainer.data.clips import place_of
from trainer.data.dataset import ClipDataset
from trainer.journal import LOG, read_log
from trainer.train import main

REPOSITORY, RUNS = Path(__file__).parents[2], "tests.trainer.small_runs"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder(tmp_path_factory.mktemp("data"), identities=30)


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(recipes.MODULES, "small", "tests.trainer.small_runs")
    monkeypatch.setattr(journal, "_open_board", runs.no_board)


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """What is said of something that can't be done: one line, exit code 2."""
    capsys.readouterr()
    try:
        code = main(arguments)
    except SystemExit as end:
        code = end.code
    said = capsys.readouterr()
    lines = said.err.splitlines()
    assert (code, said.out, len(lines)) == (2, "", 1), said
    return (
        lines[0].removeprefix("python -m trainer.train").removeprefix(f" {arguments[0]}").removeprefix(": ")
    )


@pytest.mark.parametrize("name", [*recipes.names(), "small"])
def test_help_lists_the_options(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main([name, "--help"])
    assert end.value.code == 0
    said = capsys.readouterr().out
    options = ("--config", "--data", "--resume", "--batch", "--learning.generator")
    for word in (*options, *recipes.get(name).ablations):
        assert word in said


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"]])
def test_help_without_a_recipe_lists_those(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 0
    said = capsys.readouterr().out
    assert "  dae_gan       --config paper | rafd | light | tiny" in said.splitlines()


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ("smal", f"unknown recipe 'smal'; known: {', '.join(sorted([*recipes.names(), 'small']))}"),
        ("small --config huge", "config 'huge' is unknown; known for small: paper, tiny"),
        ("small --bach 4", "Unrecognized options: --bach"),
        ("small --batch four", "invalid"),
        ("small --batch 0", "batch 0: expected at least 1"),
        ("small --learning.generator -1", "learning.generator -1: expected a learning rate above 0"),
        ("small --ablate pixels", "ablate 'pixels' is unknown; known for small: pixel"),
        ("small --model imf:tiny", "model imf:tiny: recipe small trains small:SIZE"),
        ("imf --config tiny --model imf:enormous", "unknown size 'enormous' of model imf"),
        ("small --batch 6 --accumulate 4", "expected a multiple of 4, as 4"),
        ("small --data nowhere", "nowhere"),
        ("small --resume lost.pt", "lost.pt: there is no such file"),
        ("small --initial lost.pt", "lost.pt: there is no such file"),
        ("small --initial a.pt --resume auto", "leave one out"),
        ("small --batch 32", "too little data: 22 clips to train, and a batch takes 32"),
        ("small --vgg lost.pth", "lost.pth"),
    ],
)
def test_what_cant_be_done_is_said_in_one_line(
    arguments: str, reason: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name, *rest = arguments.split()
    usual = ["--data", str(data), "--output", str(tmp_path / "run")]  # what is said again later, counts
    assert reason in refused([name, *usual, *rest], capsys)


def test_data_that_cant_be_read_is_told(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No data set, a broken index, a broken picture; by a worker process too."""
    run = tmp_path / "run"
    (tmp_path / "empty").mkdir()
    assert "empty" in refused(words(tmp_path / "empty", run), capsys)
    broken = shutil.copytree(data, tmp_path / "broken")
    (broken / "index.json").write_text("{")
    assert "index.json" in refused(words(broken, run), capsys)
    (broken / "index.json").write_bytes((data / "index.json").read_bytes())
    for clip in ClipDataset(broken, "train").clips:
        for picture in (broken / place_of(clip.id)).glob("*.jpg"):
            picture.write_bytes(b"no picture")
    for workers in (0, 1):
        options = {"samples.workers": workers}
        said = refused(words(broken, tmp_path / f"{workers}", **options), capsys)
        assert said.startswith("clip rendered-0-")


def test_landmarks_are_needed_by_those_who_read_them(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = shutil.copytree(data, tmp_path / "plain")
    index = json.loads((plain / "index.json").read_text())
    for clip in index["clips"]:
        clip["landmarks"] = False
    (plain / "index.json").write_text(json.dumps(index))
    usual = ["--config", "tiny", "--data", str(plain), "--device", "cpu"]
    said = refused(["landmark_gan", *usual, "--output", str(tmp_path / "a")], capsys)
    assert "recipe landmark_gan needs landmarks, and clip rendered-0-" in said
    short = ["--pictures", "2", "--batch", "2", "--log-every", "2", "--sample-every", "2"]
    assert main(["imf", *usual, *short, "--output", str(tmp_path / "b")]) == 0
    assert "the discriminator's features are matched" in capsys.readouterr().err
    assert [line["step"] for line in curve(tmp_path / "b")] == [1]


def test_a_run_is_not_written_over(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither by one that begins anew nor by one that begins with other networks."""
    run = tmp_path / "run"
    assert main(words(data, run, pictures=8)) == 0
    said = capsys.readouterr()
    assert (said.out, said.err) == (f"{run}: 8 pictures in 2 steps, 0 of them skipped.\n", "")
    kept = checkpoint.latest(run / "checkpoints")
    log = (run / LOG).read_bytes()
    for options in ({}, {"initial": kept}):
        said = refused(words(data, run, pictures=8, **options), capsys)
        assert said == f"{kept} is there: go on with --resume auto, or name another --output"
    assert (run / LOG).read_bytes() == log
    assert main(words(data, run, pictures=8, resume="auto")) == 0  # nothing is left to do
    assert (run / LOG).read_bytes() == log
    assert main(words(data, run, pictures=16, resume="auto")) == 0
    assert [line["step"] for line in curve(run)] == [1, 2, 3, 4]
    settings = json.loads((run / "settings.json").read_text())
    assert settings["settings"]["recipe"] == "small"
    assert settings["settings"]["pictures"] == 16


def test_a_run_begins_with_another_ones_networks(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words(data, tmp_path / "first", pictures=8)) == 0
    kept = checkpoint.latest(tmp_path / "first" / "checkpoints")
    assert main(words(data, tmp_path / "second", pictures=8, initial=kept, seed=1)) == 0
    assert [line["step"] for line in curve(tmp_path / "second")] == [1, 2]
    first, second = (curve(tmp_path / name)[0]["generator/pixel"] for name in ("first", "second"))
    assert first != second
    said = refused(
        [
            "imf",
            "--config",
            "tiny",
            "--data",
            str(data),
            "--output",
            str(tmp_path / "c"),
            "--initial",
            str(kept),
        ],
        capsys,
    )
    assert said.splitlines()[-1] == "the checkpoint is of recipe small, not of imf"


def test_a_full_disk_ends_the_run_and_leaves_the_old_one(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """From the third checkpoint on; with room again it goes on."""
    dump, calls = checkpoint._dump, []

    def full(state: checkpoint.State, file: Any) -> None:
        if not isinstance(file, checkpoint._Scale):
            calls.append(state["step"])
            if len(calls) > 2:
                file.write(b"a part")
                raise OSError(errno.ENOSPC, "No space left on device")
        dump(state, file)

    monkeypatch.setattr(checkpoint, "_dump", full)
    said = refused(words(data, tmp_path), capsys)
    assert said.startswith(
        f"{tmp_path}/checkpoints/step-00000012.pt: can't be written: No space left on device"
    )
    assert "older checkpoints are as they were" in said
    kept = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert [name for name in kept if name != "best.pt"] == ["step-00000004.pt", "step-00000008.pt"]
    monkeypatch.setattr(checkpoint, "_dump", dump)
    assert main(words(data, tmp_path, resume="auto")) == 0
    assert [line["step"] for line in curve(tmp_path)] == list(range(1, 17))


# Several ranks, under torchrun.


@contextmanager
def torchrun(arguments: list[str], *options: str, **environment: str) -> "Iterator[subprocess.Popen[str]]":
    """Two ranks, on this machine; none is left behind."""
    usual = ["--nproc-per-node", "2", "--rdzv-backend", "c10d", "--rdzv-endpoint", "127.0.0.1:0"]
    process = subprocess.Popen(
        [sys.executable, "-m", "torch.distributed.run", *usual, *options, "-m", RUNS, *arguments],
        cwd=REPOSITORY,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    with process:
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


def assert_close(run: Path, other: Path) -> None:
    """To float32's rounding, which training makes larger."""
    found, expected = curve(run), curve(other)
    assert len(found) == len(expected)
    for line, truth in zip(found, expected, strict=True):
        assert line.keys() == truth.keys()
        assert line == pytest.approx(truth, rel=2e-3)


@pytest.mark.slow
def test_two_ranks_train_as_one(data: Path, tmp_path: Path) -> None:
    """Told once, logged once; with parts too."""
    assert main(words(data, tmp_path / "one")) == 0
    for accumulate in (1, 2):
        run = tmp_path / str(accumulate)
        with torchrun(words(data, run, accumulate=accumulate)) as process:
            out, said = process.communicate()
        assert process.returncode == 0, said
        assert out == f"{run}: 64 pictures in 16 steps, 0 of them skipped.\n"
        assert_close(run, tmp_path / "one")
        assert json.loads((run / "settings.json").read_text())["settings"]["world"] == 2


@pytest.mark.slow
def test_a_rank_that_dies_ends_the_others(data: Path, tmp_path: Path) -> None:
    with torchrun(words(data, tmp_path / "run"), DIES="1 32 0") as process:
        _, said = process.communicate()
    assert process.returncode == 1
    assert "Signal 9 (SIGKILL)" in said
    found = checkpoint.latest_whole(tmp_path / "run" / "checkpoints")
    assert found is not None
    assert found.state["pictures"] in (16, 32)


@pytest.mark.slow
def test_a_rank_that_hangs_is_waited_for_and_no_longer(data: Path, tmp_path: Path) -> None:
    """The other one's patience is at an end after seconds here."""
    with torchrun(words(data, tmp_path / "run"), HANGS="1 32", PATIENCE="5") as process:
        _, said = process.communicate()
    assert process.returncode == 1
    assert "another rank is gone: --resume auto" in said


@pytest.mark.slow
def test_an_elastic_restart_goes_on_from_the_checkpoint(data: Path, tmp_path: Path) -> None:
    assert main(words(data, tmp_path / "one")) == 0
    run = tmp_path / "run"
    with torchrun(words(data, run, resume="auto"), "--max-restarts", "1", DIES="1 40 0") as process:
        out, said = process.communicate()
    assert process.returncode == 0, said
    assert out == f"{run}: 64 pictures in 16 steps, 0 of them skipped.\n"
    assert_close(run, tmp_path / "one")


@pytest.mark.slow
def test_torchrun_passes_a_signal_on(data: Path, tmp_path: Path) -> None:
    """Both ranks save and end after the same step."""
    run = tmp_path / "run"
    with torchrun(words(data, run, pictures=100_000)) as process:
        while not (run / LOG).exists() or not read_log(run / LOG):
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(0.05)
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate()
    assert "stopped, and saved" in said
    found = checkpoint.latest_whole(run / "checkpoints")
    assert found is not None
    assert found.state["step"] == curve(run)[-1]["step"]
