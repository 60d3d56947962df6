"""What the browser tests share: cameras made of clips, a server as a process, and a page that is watched."""

import base64
import io
import json
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
from playwright.sync_api import Browser, Locator, Page, Playwright, ViewportSize

from realtime.bench import barcode
from realtime.bench.camera import fit, there_and_back, write_camera
from realtime.bench.chromium import FLAGS, find_chromium
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

# Put into a page before its own scripts. Notes every track that a camera gave, and every peer connection.
# Where `cameraAsks` is set, a camera is given only once the test has called the call's `allow` or `refuse`.
WATCHED = """
  window.tracks = [];
  window.peers = [];
  window.prompts = [];
  window.cameraAsks = false;
  const open = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
  navigator.mediaDevices.getUserMedia = async (wishes) => {
    if (window.cameraAsks) {
      await new Promise((allow, fail) => {
        window.prompts.push({ allow, refuse: () => fail(new DOMException("", "NotAllowedError")) });
      });
    }
    const stream = await open(wishes);
    window.tracks.push(...stream.getTracks());
    return stream;
  };
  window.RTCPeerConnection = class extends window.RTCPeerConnection {
    constructor(...settings) {
      super(...settings);
      window.peers.push(this);
    }
  };
"""

# A function of the page: what a video shows.
SHOWN = """async (video) => {
  const canvas = new OffscreenCanvas(video.videoWidth, video.videoHeight);
  canvas.getContext("2d").drawImage(video, 0, 0);
  const file = await canvas.convertToBlob({ type: "image/jpeg", quality: 0.95 });
  const bytes = new Uint8Array(await file.arrayBuffer());
  return btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));
}"""

# A function of the page: that many frames of the avatar, one after another, while it can be seen.
FRAMES = f"""(count) => new Promise((resolve) => {{
  const video = document.getElementById("avatar");
  const frames = [];
  const note = async () => {{
    if (getComputedStyle(video).visibility === "visible") frames.push(await ({SHOWN})(video));
    if (frames.length < count) video.requestVideoFrameCallback(note);
    else resolve(frames);
  }};
  video.requestVideoFrameCallback(note);
}})"""


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

    @property
    def offers(self) -> int:
        """How many sessions the page has asked the server for."""
        return sum(urlsplit(url).path == "/whip" for url in self.calls)

    def button(self, name: str) -> Locator:
        return self.page.get_by_role("button", name=name, exact=True)

    def says(self, text: str) -> None:
        """Wait until the status line says exactly that."""
        self.page.get_by_role("status").get_by_text(text, exact=True).wait_for()

    def warns(self, title: str) -> None:
        """Wait until the notice on the stage has that title."""
        self.page.get_by_role("alert").get_by_text(title, exact=True).wait_for()

    def comes_true(self, expression: str) -> None:
        """Wait until that is so in the page."""
        until(lambda: bool(self.page.evaluate(expression)), expression)

    def start(self) -> None:
        """Press Start and wait until the avatar is there."""
        self.button("Start").click()
        stage = self.page.locator("#stage:is([data-state=live], [data-state=problem])")
        stage.wait_for()
        if stage.get_attribute("data-state") == "problem":
            pytest.fail(f"the page says: {self.page.get_by_role('alert').inner_text()}")
        self.page.evaluate(
            """() => new Promise((resolve) => {
              const video = document.getElementById("avatar");
              if (video.readyState >= 2) resolve();
              else video.addEventListener("loadeddata", () => resolve(), { once: true });
            })"""
        )

    def avatar(self, count: int) -> list[Picture]:
        """That many frames of the avatar, as the browser shows them one after another."""
        return [_picture(text) for text in self.page.evaluate(FRAMES, count)]

    def shown(self) -> Picture:
        """What is to be seen of the avatar at this moment."""
        self.page.locator("#avatar").wait_for(state="visible")
        return _picture(self.page.locator("#avatar").evaluate(SHOWN))

    def first_frames(self, count: int) -> list[Picture]:
        """Press Start; that many frames of the avatar, from when the first one is there."""
        self.page.evaluate(
            f"""(count) => {{
              window.firstFrames = new Promise((resolve) => {{
                const begin = () => resolve(({FRAMES})(count));
                document.getElementById("avatar").addEventListener("loadeddata", begin, {{ once: true }});
              }});
            }}""",
            count,
        )
        self.button("Start").click()
        return [_picture(text) for text in self.page.evaluate("window.firstFrames")]

    def numbered(self, count: int) -> list[tuple[int, Picture]]:
        """The same with the number of the driving frame that each answers. Frames whose bar code the codec
        has spoiled are left out."""
        frames = ((barcode.read(picture), picture) for picture in self.avatar(count))
        return [(number, picture) for number, picture in frames if number is not None]


def visit(
    browser: Browser, address: str, viewport: ViewportSize = DESKTOP, scripts: Sequence[str] = ()
) -> Visit:
    """Open a server's page in a fresh profile. scripts: to run in it before its own."""
    context = browser.new_context(viewport=viewport)
    for script in scripts:
        context.add_init_script(script)
    return Visit(context.new_page(), address)


def launch_with_cameras(playwright: Playwright) -> Browser:
    """A browser with three cameras, allowed, that show test pictures. The second one's are 16-bit grey, which
    browsers don't send."""
    flags = (
        *FLAGS,
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream=device-count=3",
    )
    return playwright.chromium.launch(executable_path=find_chromium(), args=flags)


def pose_camera(poses: Sequence[Picture]) -> str:
    """A script that makes the page's camera show the first of these pictures, and after `pose(NUMBER)`
    another one, for as long as it takes. Each has its number as a bar code."""
    pictures = []
    for number, pose in enumerate(poses):
        picture = fit(pose, *SIZE)
        barcode.draw(picture, number)
        file = io.BytesIO()
        Image.fromarray(picture).save(file, "PNG")
        pictures.append(f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}")
    return f"""
      const pictures = {json.dumps(pictures)}.map((src) => Object.assign(new Image(), {{ src }}));
      let shown = 0;
      window.pose = (number) => {{ shown = number; }};
      navigator.mediaDevices.getUserMedia = async () => {{
        await Promise.all(pictures.map((picture) => picture.decode()));
        const canvas = document.createElement("canvas");
        [canvas.width, canvas.height] = {list(SIZE)};
        const paint = canvas.getContext("2d");
        setInterval(() => paint.drawImage(pictures[shown], 0, 0), 100);
        return canvas.captureStream();
      }};
    """


def _picture(encoded: str) -> Picture:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(encoded))).convert("RGB"))


def still(address: str) -> Picture:
    """The server's portrait at rest."""
    with urlopen(f"{address}api/portrait") as answer:
        return np.asarray(Image.open(io.BytesIO(answer.read())))


def until(happens: Callable[[], bool], what: str) -> None:
    """Ask again and again, for what only the server knows."""
    limit = time.monotonic() + PATIENCE_MS / 1e3
    while not happens():
        if time.monotonic() > limit:
            pytest.fail(f"never: {what}")
        time.sleep(0.05)  # between two looks; how long does not decide anything


def difference(a: Picture, b: Picture) -> float:
    """Mean difference of two pictures below the debug stamp, levels. Fine detail, which codecs spoil, is left
    out."""
    small = [
        cv2.resize(picture[32:], (64, 60), interpolation=cv2.INTER_AREA).astype(float) for picture in (a, b)
    ]
    return float(np.abs(small[0] - small[1]).mean())
