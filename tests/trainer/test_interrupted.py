"""Runs that somebody ends: by signals that can be caught, and by one that can't."""

import multiprocessing
import os
import random
import signal
import subprocess
import sys
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from tests.trainer import small_runs as runs
from tests.trainer.data.pretender import folder
from tests.trainer.small_runs import SmallRecipe, curve, words
from tests.trainer.test_checkpoint import assert_same
from trainer import checkpoint
from trainer.journal import LOG, read_log

# Processes of their own, from one that has imported torch once.
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload([__name__])


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder(tmp_path_factory.mktemp("data"), identities=30)


def run_in(arguments: list[str], parent: Connection | None) -> None:
    """Tells before every step, and waits for leave."""

    def told(pictures: int) -> None:
        assert parent is not None
        parent.send(pictures)
        parent.recv()

    if parent is not None:
        SmallRecipe.told = told
    sys.exit(runs.main(arguments))


def started(arguments: list[str], end: Connection | None = None) -> BaseProcess:
    process = FORKS.Process(target=run_in, args=(arguments, end))
    process.start()
    return process


def led(arguments: list[str], until: int) -> tuple[BaseProcess, Connection, int]:
    """A run that stands before the first step from that picture on."""
    mine, its = FORKS.Pipe()
    process = started(arguments, its)
    its.close()
    while (pictures := mine.recv()) < until:
        mine.send(None)
    return process, mine, pictures


@pytest.fixture(scope="module")
def undisturbed(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("undisturbed")
    process = started(words(data, run, pictures=128, checkpoint_every=8))
    process.join()
    assert process.exitcode == 0
    assert len(curve(run)) == 32
    return run


def assert_as_undisturbed(run: Path, undisturbed: Path) -> None:
    assert curve(run) == curve(undisturbed)
    states = []
    for one in (run, undisturbed):
        found = checkpoint.latest_whole(one / "checkpoints")
        assert found is not None
        assert found.passed == ()
        del found.state["progress"]["best"]  # it is looked for wherever a run is saved
        states.append(found.state)
    assert_same(*states)


def let_go(process: BaseProcess, mine: Connection) -> None:
    """Without waiting for leave again."""
    while process.is_alive():
        try:
            mine.send(None)
            mine.recv()
        except (EOFError, ConnectionError):
            break
    process.join()


def test_signals_save_and_the_run_goes_on(data: Path, undisturbed: Path, tmp_path: Path) -> None:
    """SIGTERM ends it with 0, Ctrl-C with 130; each after the step that it came in."""
    arguments = words(data, tmp_path, pictures=128, checkpoint_every=8, resume="auto")
    for at, number, code in ((20, signal.SIGTERM, 0), (76, signal.SIGINT, 130)):
        process, mine, pictures = led(arguments, at)
        assert pictures == at
        assert process.pid is not None
        os.kill(process.pid, number)
        let_go(process, mine)
        assert process.exitcode == code
        found = checkpoint.latest_whole(tmp_path / "checkpoints")
        assert found is not None
        assert found.state["pictures"] == at + 4
    process = started(arguments)
    process.join()
    assert process.exitcode == 0
    assert_as_undisturbed(tmp_path, undisturbed)


def killed_again_and_again(data: Path, run: Path, tries: int, pictures: int = 128) -> None:
    """Each process goes on with the folder of the one before; moments are drawn within steps and between
    them, so that some are in the writing of a checkpoint. At last one may go on to the end."""
    arguments = words(data, run, pictures=pictures, checkpoint_every=8, resume="auto")
    chance, reached, seen = random.Random(0), 0, []
    for _ in range(tries):
        mine, its = FORKS.Pipe()
        process = started(arguments, its)
        its.close()
        first = mine.recv()
        # What was saved is not lost: at most the last checkpoint was still on its way.
        assert first >= reached - 16
        reached = first
        for _ in range(chance.randrange(5)):
            mine.send(None)
            reached = mine.recv()
        mine.send(None)
        process.join(chance.uniform(0, 0.05))
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        mine.close()
        seen.append(first)
    assert max(seen) > 0
    process = started(arguments)
    process.join()
    assert process.exitcode == 0


def test_a_run_that_is_killed_goes_on(data: Path, undisturbed: Path, tmp_path: Path) -> None:
    killed_again_and_again(data, tmp_path, 3)
    assert_as_undisturbed(tmp_path, undisturbed)


@pytest.mark.slow
def test_a_run_that_is_killed_twenty_times_goes_on(data: Path, tmp_path: Path) -> None:
    """A longer one, which isn't done before."""
    killed_again_and_again(data, tmp_path / "killed", 20, pictures=400)
    process = started(words(data, tmp_path / "whole", pictures=400, checkpoint_every=8))
    process.join()
    assert process.exitcode == 0
    assert_as_undisturbed(tmp_path / "killed", tmp_path / "whole")


@pytest.mark.slow
def test_the_command_is_stopped_and_goes_on(tmp_path: Path) -> None:
    """As a person would do it, with a recipe of the project."""
    data = folder(tmp_path / "data", identities=30, size=64)
    run = tmp_path / "run"
    options = f"--data {data} --output {run} --pictures 8 --batch 1 --log-every 1 --resume auto --device cpu"
    command = [sys.executable, "-m", "trainer.train", "imf", "--config", "tiny", *options.split()]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    while not (run / LOG).exists() or not read_log(run / LOG):
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.05)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate()
    assert process.returncode == 0, said
    assert "stopped, and saved" in said
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{run}: 8 pictures in 8 steps, 0 of them skipped.\n"
    assert [line["step"] for line in curve(run)] == list(range(1, 9))
