"""The examples run as their first lines say."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from models import weights
from realtime.footage import open_footage
from tests.material import picture

ROOT = Path(__file__).parent.parent
GRID = 512  # pixels of a cell, of warp's source crop
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


def first_command(path: Path) -> list[str]:
    """The first command of the example's opening, which may go on in the next line."""
    lines = (line.strip() for line in path.read_text().replace("\\\n", " ").splitlines())
    return shlex.split(next(line for line in lines if line.startswith("python ")))


def run(arguments: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},  # this tree, also where another one is installed
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_runs_as_written(path: Path, tmp_path: Path):
    _, *arguments, output = first_command(path)
    inputs = [str(ROOT / part) if "/" in part else part for part in arguments]
    result = run([*inputs, output], tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith(output)
    if output.endswith(".mp4"):
        with open_footage(tmp_path / output) as footage:
            pictures = [frame.picture for frame in footage.frames()]
        assert len(pictures) == 75
        assert np.ptp([image.astype(int) for image in pictures[::25]], axis=0).max() > 60
    elif path.stem == "expression_transfer":
        made = picture(tmp_path / output)
        assert made.shape[:2] == (2 * GRID, 2 * GRID)
        (blank, driver), (source, cell) = (np.split(row, 2, axis=1) for row in np.split(made.astype(int), 2))
        assert blank.min() == 255
        assert min(np.abs(cell - other).mean() for other in (driver, source)) > 1
    else:
        painting = picture(ROOT / "examples" / "mona_lisa.jpg").astype(int)
        made = picture(tmp_path / output)
        assert made.shape == painting.shape
        assert np.abs(made - painting).max() > 60


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (["--sources", "nowhere.jpg", "--drivers", "nowhere.jpg"], "nowhere.jpg: there is no such file"),
        (["--sources", "nowhere.jpg"], "sources and drivers: give pictures for both, or for neither"),
        (["--people", "1"], "people 1: expected at least 2"),
    ],
)
def test_a_grid_that_can_t_be_drawn_is_told_in_one_line(tmp_path: Path, asked: list[str], words: str):
    example = str(ROOT / "examples" / "expression_transfer.py")
    result = run([example, "--weights", "warp", "--output", "grid.png", *asked], tmp_path)
    assert result.returncode == 2
    assert words in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "grid.png").exists()


def test_a_grid_of_rendered_people_needs_no_pictures(tmp_path: Path):
    """By a network that nobody has trained."""
    weights.save(weights.seeded("latent:tiny"), tmp_path / "latent.safetensors")
    example = str(ROOT / "examples" / "expression_transfer.py")
    asked = ["--weights", "latent.safetensors", "--output", "grid.png", "--people", "2"]
    result = run([example, *asked], tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("grid.png: 2 people with 2 expressions each")
    assert picture(tmp_path / "grid.png").shape == (3 * 128, 3 * 128, 3)
