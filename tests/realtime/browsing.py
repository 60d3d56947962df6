"""What the browser tests share: cameras made of clips, a server as a process, and a page that is watched."""

import base64
import io
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import urlopen

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from playwright.sync_api import Browser, Locator, Page, ViewportSize

from realtime.bench import barcode
from realtime.bench.camera import fit, there_and_back, write_camera
from realtime.bench.clips import read_clip
from realtime.bench.process import Running, served

ROOT = Path(__file__).parents[2]
CLIP = ROOT / "tests/media/grid_brbk7n.mp4"
MONA_LISA = ROOT / "tests/media/mona_lisa.jpg"
ASTRONAUT = ROOT / "tests/media/astronaut.jpg"

SIZE = (640, 480)
PATIENCE_MS = 60_000.0  # nothing is measured by it: it only ends a test that would hang
DESKTOP = ViewportSize(width=1280, height=800)
PHONE = ViewportSize(width=390, height=844)

Picture = npt.NDArray[np.uint8]  # H×W×3 RGB


def clip_frames() -> list[Picture]:
    """The driver's frames, there and back, as the camera shows them but for the bar code."""
    return [fit(frame, *SIZE) for frame in there_and_back(read_clip(CLIP, 500).frames)]


def write_frames(path: Path, frames: Sequence[Picture], fps: int) -> Path:
    """A camera that plays these frames once in each of its rounds."""
    write_camera(path, frames, SIZE, fps, len(frames))
    return path


@contextmanager
def server(*options: str, source: Path = ASTRONAUT) -> Iterator[Running]:
    """A real server on a free port."""
    arguments = ("--source", str(source), "--port", "0", "--debug-stamp", "--threads", "1", *options)
    with served("realtime.serve", *arguments) as running:
        yield running


@dataclass
class Visit:
    """A person's visit to a server's page. Whatever the browser complains about, and every address it calls,
    is noted."""

    page: Page
    address: str
    complaints: list[str] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.set_default_timeout(PATIENCE_MS)
        self.page.on("console", lambda said: self._note(said.type, said.text))
        self.page.on("pageerror", lambda error: self._note("error", str(error)))
        self.page.on("request", lambda request: self.calls.append(request.url))
        self.page.goto(self.address)
        self.page.wait_for_load_state("networkidle")

    def _note(self, kind: str, text: str) -> None:
        if kind in ("error", "warning"):
            self.complaints.append(text)

    @property
    def strangers(self) -> set[str]:
        """Hosts other than the server's own that the page called."""
        own = urlsplit(self.address).netloc
        return {urlsplit(url).netloc for url in self.calls if urlsplit(url).scheme != "blob"} - {own}

    def button(self, name: str) -> Locator:
        return self.page.get_by_role("button", name=name, exact=True)

    def says(self, text: str) -> None:
        """Wait until the status line says exactly that."""
        self.page.get_by_role("status").get_by_text(text, exact=True).wait_for()

    def warns(self, title: str) -> None:
        """Wait until the notice on the stage has that title."""
        self.page.get_by_role("alert").get_by_text(title, exact=True).wait_for()

    def start(self) -> None:
        """Press Start and wait until the avatar is there."""
        self.button("Start").click()
        self.page.locator("#stage[data-state=live]").wait_for()
        self.page.evaluate(
            """() => new Promise((resolve) => {
              const video = document.getElementById("avatar");
              if (video.readyState >= 2) resolve();
              else video.addEventListener("loadeddata", () => resolve(), { once: true });
            })"""
        )

    def avatar(self, count: int) -> list[Picture]:
        """That many frames of the avatar, as the browser shows them one after another."""
        encoded = self.page.evaluate(
            """(count) => new Promise((resolve) => {
              const video = document.getElementById("avatar");
              const canvas = new OffscreenCanvas(video.videoWidth, video.videoHeight);
              const frames = [];
              const note = async () => {
                canvas.getContext("2d").drawImage(video, 0, 0);
                const file = await canvas.convertToBlob({ type: "image/jpeg", quality: 0.95 });
                const bytes = new Uint8Array(await file.arrayBuffer());
                frames.push(btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join("")));
                if (frames.length < count) video.requestVideoFrameCallback(note);
                else resolve(frames);
              };
              video.requestVideoFrameCallback(note);
            })""",
            count,
        )
        return [np.asarray(Image.open(io.BytesIO(base64.b64decode(text))).convert("RGB")) for text in encoded]

    def numbered(self, count: int) -> list[tuple[int, Picture]]:
        """The same with the number of the driving frame that each answers. Frames whose bar code the codec
        has spoiled are left out."""
        frames = ((barcode.read(picture), picture) for picture in self.avatar(count))
        return [(number, picture) for number, picture in frames if number is not None]


def visit(browser: Browser, address: str, viewport: ViewportSize = DESKTOP) -> Visit:
    """Open a server's page in a fresh profile."""
    return Visit(browser.new_context(viewport=viewport).new_page(), address)


def still(address: str) -> Picture:
    """The server's portrait at rest."""
    with urlopen(f"{address}api/portrait") as answer:
        return np.asarray(Image.open(io.BytesIO(answer.read())))


def until(happens: Callable[[], bool], what: str) -> None:
    """Ask again and again, for what only the server knows."""
    limit = time.monotonic() + PATIENCE_MS / 1e3
    while not happens():
        if time.monotonic() > limit:
            pytest.fail(f"never {what}")
        time.sleep(0.05)


def difference(a: Picture, b: Picture) -> float:
    """Mean difference of two pictures below the debug stamp, levels. Fine detail, which codecs spoil, is left
    out."""
    small = [
        cv2.resize(picture[32:], (64, 60), interpolation=cv2.INTER_AREA).astype(float) for picture in (a, b)
    ]
    return float(np.abs(small[0] - small[1]).mean())
