"""The live path from glass to glass: a real server, a real browser, a camera whose frames carry their number.

    python -m realtime.bench live                   # 30 seconds of the avatar
    python -m realtime.bench live --echo            # what browser, codec and network cost by themselves
    python -m realtime.bench live --seconds 120 --json live.json

Headless Chromium opens the server's page with a clip as its camera. Every frame of the clip has a bar code
in its top rows; the server, run with --debug-stamp, puts these rows on the avatar's frame. The delay of a
frame is the time from the camera's taking it to the avatar's frame with the same number being given to the
screen.
"""

import json
import shlex
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

from realtime.bench.camera import there_and_back, write_camera
from realtime.bench.chromium import chromium
from realtime.bench.clips import read_clip
from realtime.bench.passage import Passage, Shown, summarise
from realtime.bench.process import served
from realtime.framing import Canvas

LOOP_S = 12  # of the camera's file: a delay is told apart from one that is longer by this much
MOST_FRAMES = 500  # of the clip
WINDOW = {"width": 1280, "height": 800}  # of the page, CSS pixels
START_MS = 30_000.0


@dataclass(frozen=True)
class LiveBench:
    """Measure the live path from glass to glass."""

    seconds: float = 30.0
    """How long to measure."""
    warm_up: float = 4.0
    """Seconds before that, in which bitrate and portrait settle."""
    size: str = "640x480"
    """Size of the camera's pictures as WxH."""
    fps: int = 30
    """Frames a second of the camera."""
    clip: Path = Path("tests/media/grid_brbk7n.mp4")
    """What the camera sees."""
    source: Path = Path("examples/mona_lisa.jpg")
    """The portrait."""
    echo: bool = False
    """Measure a bare echo server instead."""
    options: str = ""
    """More options for the server, in one string: --options='--threads 1'."""
    json: Path | None = None
    """Write the figures to this file."""

    def run(self) -> None:
        """Measure, print the table, and write what was asked for. Raises ValueError for unusable settings."""
        report = self.measure()
        Console().print(_table(report))
        if self.json is not None:
            self.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")

    def measure(self) -> dict[str, Any]:
        """The figures of one run, ready for JSON. Raises ValueError for unusable settings."""
        size = Canvas.parse(self.size)
        loop = LOOP_S * self.fps
        frames = there_and_back(read_clip(self.clip, MOST_FRAMES).frames)
        with tempfile.TemporaryDirectory() as folder:
            camera = Path(folder) / "camera.y4m"
            write_camera(camera, frames, (size.width, size.height), self.fps, loop)
            wishes = {"width": size.width, "height": size.height, "frameRate": self.fps}
            with self._server() as address, chromium(camera) as browser:
                page = browser.new_page(viewport=WINDOW)  # type: ignore[arg-type]  # a dict is what it takes
                page.add_init_script(f"window.reenactCamera = {json.dumps(wishes)};")
                page.add_init_script(resources.files("realtime.bench").joinpath("live.js").read_text("utf-8"))
                page.goto(address)
                page.get_by_role("button", name="Start").click()
                page.locator("#stage[data-state=live]").wait_for(timeout=START_MS)
                page.wait_for_timeout(1e3 * self.warm_up)
                page.evaluate("reenactBench.start()")
                before = page.evaluate("reenactBench.take()")
                page.wait_for_timeout(1e3 * self.seconds)
                noted = page.evaluate("reenactBench.take()")
        seen = [[Shown.parse(row) for row in noted[name]] for name in ("self", "avatar")]
        return self._report(summarise(seen[0], seen[1], loop), before, noted)

    @contextmanager
    def _server(self) -> Iterator[str]:
        if self.echo:
            command = ["realtime.bench.echo"]
        else:
            command = ["realtime.serve", "--source", str(self.source), "--port", "0", "--debug-stamp"]
            command += shlex.split(self.options)
        with served(*command) as server:
            yield server.address

    def _report(self, passage: Passage, before: dict[str, Any], noted: dict[str, Any]) -> dict[str, Any]:
        came, went = noted["inbound-rtp"], noted["outbound-rtp"]
        was = before["inbound-rtp"]
        stages = [stats["stagesMs"] for stats in noted["stats"]]
        return {
            "settings": {name: str(value) for name, value in asdict(self).items()},
            **passage._asdict(),
            "freezes": came["freezeCount"] - was["freezeCount"],
            "frozen_s": came["totalFreezesDuration"] - was["totalFreezesDuration"],
            "codec": noted.get("codec"),
            "sent_fps": went.get("framesPerSecond"),
            "sent_size": [went.get("frameWidth"), went.get("frameHeight")],
            "limited_by": went.get("qualityLimitationReason"),
            "buffer_ms": _mean_ms(was, came, "jitterBufferDelay", "jitterBufferEmittedCount"),
            "decode_ms": _mean_ms(was, came, "totalDecodeTime", "framesDecoded"),
            "encode_ms": _mean_ms(before["outbound-rtp"], went, "totalEncodeTime", "framesEncoded"),
            "server_ms": _median([stats["delayMs"] for stats in noted["stats"]]),
            "stages_ms": {name: _median([row.get(name) for row in stages]) for name in (stages or [{}])[-1]},
        }


def _mean_ms(before: dict[str, Any], after: dict[str, Any], seconds: str, count: str) -> float | None:
    frames = after[count] - before[count]
    return 1e3 * float(after[seconds] - before[seconds]) / frames if frames else None


def _median(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return median(known) if known else None


def _table(report: dict[str, Any]) -> Table:
    table = Table(title="Bare echo" if report["settings"]["echo"] == "True" else "Live avatar")
    table.add_column("figure")
    table.add_column("value", justify="right")

    def row(name: str, value: float | None, unit: str, digits: int = 0) -> None:
        table.add_row(name, "–" if value is None else f"{value:.{digits}f} {unit}")

    row("camera", report["camera_fps"], "fps", 1)
    row("avatar on the screen", report["fps"], "fps", 1)
    row("glass to glass, p50", report["p50_ms"], "ms")
    row("glass to glass, p95", report["p95_ms"], "ms")
    row("growth, last quarter − first", report["growth_ms"], "ms")
    row("dropped", 100 * report["dropped"], "%", 1)
    row("freezes", report["freezes"], "")
    row("longest gap", report["longest_gap_ms"], "ms")
    row("frames measured", report["matched"], "")
    row("bar codes unread", report["unread"], "")
    table.add_section()
    row("browser: encode", report["encode_ms"], "ms", 1)
    row("browser: wait in the buffer", report["buffer_ms"], "ms", 1)
    row("browser: decode", report["decode_ms"], "ms", 1)
    row("server: frame in to frame out", report["server_ms"], "ms", 1)
    for name, value in report["stages_ms"].items():
        row(f"server: {name}", value, "ms", 1)
    return table
