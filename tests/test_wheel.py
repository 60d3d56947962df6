"""What an installation carries."""

import os
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import Distribution
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

RUN = """
import sys
from importlib.metadata import EntryPoint

import realtime

print(realtime.__file__)
EntryPoint("", sys.argv.pop(1), "").load()()
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"  # a copy, because building leaves files behind
    shutil.copytree(ROOT, source, ignore=shutil.ignore_patterns(".*", "build", "*.egg-info", "__pycache__"))
    options = "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder)  # nothing is downloaded
    command = [sys.executable, "-m", "pip", "wheel", *options, str(source)]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    (built,) = folder.glob("reenact-*.whl")
    return built


def test_the_wheel_carries_the_page_and_the_tables(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    for package in ("models", "realtime", "trainer"):
        for file in (ROOT / package).rglob("*"):
            if file.is_file() and "__pycache__" not in file.parts:
                assert file.relative_to(ROOT).as_posix() in names
    assert {Path(name).name for name in names} >= {"LICENSE", "NOTICE", "entry_points.txt"}
    assert not any(name.startswith(("tests/", "examples/", "docs/")) for name in names)


def test_the_commands_start_from_the_wheel(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    (metadata,) = tmp_path.glob("*.dist-info")
    installed = Distribution.at(metadata)
    commands = installed.entry_points.select(group="console_scripts")
    assert commands.names == {"reenact-serve", "reenact-animate"}
    for command in commands:
        told = subprocess.run(
            [sys.executable, "-c", RUN, command.value, "--version"],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(tmp_path)},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        place, version = told.stdout.splitlines()
        assert Path(place).is_relative_to(tmp_path)
        assert version == installed.version
