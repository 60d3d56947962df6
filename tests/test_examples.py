"""The examples run as their first lines say."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from realtime.footage import open_footage
from tests.material import picture

ROOT = Path(__file__).parent.parent
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


def first_command(path: Path) -> list[str]:
    """The first command of the example's opening."""
    lines = (line.strip() for line in path.read_text().splitlines())
    return shlex.split(next(line for line in lines if line.startswith("python ")))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_runs_as_written(path: Path, tmp_path: Path):
    _, *arguments, output = first_command(path)
    inputs = [str(ROOT / part) if "/" in part else part for part in arguments]
    result = subprocess.run(
        [sys.executable, *inputs, output],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},  # this tree, also where another one is installed
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith(output)
    if output.endswith(".mp4"):
        with open_footage(tmp_path / output) as footage:
            pictures = [frame.picture for frame in footage.frames()]
        assert len(pictures) == 75
        assert np.ptp([image.astype(int) for image in pictures[::25]], axis=0).max() > 60
    else:
        painting = picture(ROOT / "examples" / "mona_lisa.jpg").astype(int)
        made = picture(tmp_path / output)
        assert made.shape == painting.shape
        assert np.abs(made - painting).max() > 60
