"""A headless Chromium whose camera is a file, driven through Playwright (of the extra `dev`)."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")

FLAGS = (
    "--no-sandbox",  # it has none to offer where it runs as root in a container
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-fake-device-for-media-stream",
)


def find_chromium() -> Path:
    """The system's Chromium or Chrome. Raises ValueError where there is none."""
    for name in NAMES:
        if path := shutil.which(name):
            return Path(path)
    raise ValueError(f"no browser: none of {', '.join(NAMES)} is installed")


def launch(playwright: "Playwright", camera: Path | None = None, allow_camera: bool = True) -> "Browser":
    """Start a browser. camera: the Y4M file it plays; None for its test picture. allow_camera: whether the
    person says yes when a page asks for the camera. Raises ValueError where there is no Chromium."""
    flags = list(FLAGS)
    if allow_camera:
        flags.append("--use-fake-ui-for-media-stream")
    if camera is not None:
        flags.append(f"--use-file-for-fake-video-capture={camera}")
    return playwright.chromium.launch(executable_path=find_chromium(), args=flags)


@contextmanager
def chromium(camera: Path) -> Iterator["Browser"]:
    """A running browser with that camera. Raises ValueError where Chromium or Playwright is missing."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        raise ValueError("playwright is not installed: pip install 'reenact[dev]'") from None
    with sync_playwright() as playwright:
        browser = launch(playwright, camera)
        try:
            yield browser
        finally:
            browser.close()
