"""A browser and a server for the tests that are marked `browser`."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Playwright, sync_playwright

from realtime.bench.chromium import find_chromium, launch
from realtime.bench.process import Running, served
from tests.realtime import browsing


@pytest.fixture(scope="module")
def playwright() -> Iterator[Playwright]:
    """A module's own: its event loop must be gone before the next module's asynchronous tests."""
    try:
        find_chromium()
    except ValueError as error:
        pytest.skip(str(error))
    with sync_playwright() as running:
        yield running


@pytest.fixture(scope="session")
def clip_camera(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A camera in front of which somebody talks; slow, so that a busy machine loses few of its frames."""
    camera = tmp_path_factory.mktemp("camera") / "clip.y4m"
    return browsing.write_frames(camera, browsing.clip_frames(), fps=12)


@pytest.fixture(scope="module")
def browser(playwright: Playwright, clip_camera: Path) -> Iterator[Browser]:
    """A browser with that camera, allowed."""
    running = launch(playwright, clip_camera)
    yield running
    running.close()


@pytest.fixture(scope="session")
def flat_server() -> Iterator[Running]:
    """A server whose avatar is one flat colour, see `tests.fakes.Flat`."""
    with served("tests.serve_flat", "--port", "0", "--canvas", "64x64") as running:
        yield running


@pytest.fixture(scope="session")
def astronaut() -> Iterator[Running]:
    """A server with the astronaut and room for four."""
    with browsing.server() as running:
        yield running
