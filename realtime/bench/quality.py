"""How good the avatar is, on clips: the real tracker, engine and compositor in one process.

    python -m realtime.bench quality                                 # every portrait × every clip
    python -m realtime.bench quality --clips a.mp4 --no-across       # self-reenactment alone
    python -m realtime.bench quality --no-across --files             # that, from file to file
    python -m realtime.bench quality --sheet sheet.png --save out    # and something to look at

*Self-reenactment*: the clip, cropped to a 512² window around its first face, is driven by itself from its
first frame. The avatar should then be the clip. `psnr` (dB), `ssim` and `akd` (mean landmark distance, % of
the distance between the outer eye corners) are means over the frames after the first, inside the face box
(1.4 × the landmarks); `static` are the same figures of a source that never moves. A frame whose avatar shows
no face counts as one that has not moved. Both sides are tracked by FaceMesh in video mode, without refined
irises, and compared uncompressed. With `--files` the offline tool itself makes the avatar, from a clip that
went through H.264 at CRF 8, and what it wrote is compared with the clip as it was before: the harder test,
for driver and avatar are both seen through a codec.

*Across identities*: every portrait is driven by every clip, and FaceMesh (refined, in video mode, unsmoothed)
measures driver and avatar alike: `realtime/bench/motion.py` says what each quantity is. `correlation` and
`slope` (least squares) are over the frames of one pair; a pair counts for a quantity only where the driver's
own standard deviation is above a floor, for below it noise would be compared with noise. `jitter` is the
avatar's over the driver's, on the driver's stillest quarter of frames.

In both, the neutral pose is the first frame's: six passes of the tracker over it, the centre of the last
four.
"""

import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from rich.console import Console
from rich.table import Table

from models.contract import Controls, Observation
from realtime.animate import Animation
from realtime.avatar import Avatar, Portrait
from realtime.bench.clips import Clip, around_first_face, read_clip, write_clip
from realtime.bench.fidelity import Fidelity, fidelity
from realtime.bench.files import through_files
from realtime.bench.judge import Judge
from realtime.bench.motion import QUANTITIES, as_track
from realtime.bench.pairs import GOALS, JITTER_GOAL, compare, summary
from realtime.bench.sheet import contact_sheet, evenly
from realtime.config import DriverPixels, controls_of
from realtime.devices import Device
from realtime.engine import Engine
from realtime.framing import Canvas
from realtime.generators import make_generator, name_of
from realtime.pictures import load_picture
from realtime.tracker import DriverTracker

Picture = npt.NDArray[np.uint8]

JUDGE_PASSES = 3  # of the judge over the first frame, so that its own settling is not measured

TABLE_WIDTH = 150  # characters, also where the terminal is narrower: a wrapped line can still be read

# Of the checkout, where the wider collection is absent.
OWN_MEDIA = {
    "driving": (Path("tests/media/grid_brbk7n.mp4"),),
    "portraits": (Path("tests/media/astronaut.jpg"), Path("tests/media/mona_lisa.jpg")),
}


def _media(folder: str, *suffixes: str) -> tuple[Path, ...]:
    wide = Path(os.environ.get("REENACT_SHARED", "../shared")) / "media" / folder
    found = tuple(sorted(path for path in wide.glob("*") if path.suffix in suffixes))
    if found:
        return found
    own = tuple(path for path in OWN_MEDIA[folder] if path.is_file())
    if own:
        print(f"no {folder} in {wide}: taken are {', '.join(map(str, own))}")
    return own


@dataclass
class QualityBench:
    """Score the avatar: self-reenactment, and motion across identities."""

    clips: tuple[Path, ...] = ()
    """Driving clip; may be given several times. Otherwise all of $REENACT_SHARED/media/driving, or that of
    tests/media."""
    portraits: tuple[Path, ...] = ()
    """Source picture; may be given several times. Otherwise all of $REENACT_SHARED/media/portraits, or those
    of tests/media."""
    model: str = "warp"
    """Generator, as NAME or NAME:SIZE."""
    weights: str | None = None
    """The generator's weights (safetensors), or random; none for warp."""
    device: Device = "cpu"
    """Where the generator runs."""
    driver_pixels: DriverPixels = "mouth+shading"
    """What of the driver's picture may be seen."""
    still: bool = False
    """An avatar that never moves: what is measured then is the measure's own noise."""
    frames: int = 120
    """At most so many frames of a clip, evenly strided."""
    self_reenactment: bool = True
    """Score each clip against itself."""
    across: bool = True
    """Score every portrait against every clip."""
    mirrored: bool = False
    """Flip the portraits left to right: the figures should stay the same."""
    files: bool = False
    """Self-reenactment by the offline tool, from file to file."""
    json: Path | None = None
    """Write all figures to this file."""
    sheet: Path | None = None
    """Write a contact sheet (PNG or JPEG): each portrait at rest, then driven by each clip."""
    sheet_frames: int = 6
    """Frames in a row of the sheet, evenly chosen."""
    sheet_at: tuple[int, ...] = ()
    """Which frame instead, counted from 0; may be given several times."""
    sheet_tile: int = 192
    """Side of a picture of the sheet, pixels."""
    sheet_driver: bool = True
    """Show each driver above the portraits."""
    save: Path | None = None
    """Keep every clip that is made in this folder."""

    def run(self) -> None:
        """Measure, print the tables, and write what was asked for. Raises ValueError for unusable
        settings."""
        clips = self.clips or _media("driving", ".mp4")
        if not clips:
            raise ValueError("no clips: name one with --clips, or set REENACT_SHARED")
        portraits = (self.portraits or _media("portraits", ".jpg", ".png")) if self.across else ()
        if self.across and not portraits:
            raise ValueError("no portraits: name one with --portraits, or set REENACT_SHARED")
        generator = make_generator(self.model, self.weights)
        own_size = Engine(generator, self.device)
        side = generator.spec.source.size
        crop_only = Engine(generator, self.device, Canvas(side, side))
        console = Console(width=max(Console().width, TABLE_WIDTH))
        report: dict[str, Any] = {
            "model": name_of(generator.spec),
            "driver_pixels": self.driver_pixels,
            "still": self.still,
            "files": self.files,
        }
        if self.self_reenactment:
            report["self"] = [self._against_itself(own_size, path) for path in clips]
            console.print(_self_table(report["self"]))
        if self.across:
            report["across"] = self._across(crop_only, clips, portraits)
            report["summary"] = summary(report["across"])
            console.print(_pairs_table(report["across"]))
            console.print(_summary_table(report["summary"]))
        if self.json:
            self.json.write_text(json.dumps(report, indent=1))

    def _controls(self) -> Controls:
        moving, pixels = float(not self.still), controls_of(self.driver_pixels)
        return Controls.default(
            gain_pose=moving,
            gain_expression=moving,
            mouth_pixels=pixels["mouth_pixels"],
            shading=pixels["shading"],
        )

    def _animation(self) -> Animation:
        """The same for the offline tool, but for the files."""
        moving = float(not self.still)
        return Animation(
            source=(Path(),),
            driving=Path(),
            output=Path("output.mp4"),
            model=self.model,
            weights=self.weights,
            device=self.device,
            driver_pixels=self.driver_pixels,
            gain_pose=moving,
            gain_expression=moving,
        )

    def _against_itself(self, engine: Engine, path: Path) -> dict[str, Any]:
        """One row of the self-reenactment table."""
        _progress(f"{path.stem} against itself")
        clip = read_clip(path, self.frames)
        with Judge(refined=False, video=False) as judge:
            first = judge.look(clip.frames[0])
        if first is None:
            raise ValueError(f"{path.name}: no face in its first frame")
        truth = around_first_face(clip.frames, first)
        if self.files:
            made = through_files(truth[0], truth, clip.fps, self._animation())
        else:
            driving = Clip(clip.name, truth, clip.fps)
            made = list(perform(engine, engine.prepare(truth[0]), driving, self._controls()))
        self._keep(f"{clip.name}-self", made, clip)
        still = [truth[0]] * (len(truth) - 1)
        own, static = _score(truth[1:], made[1:]), _score(truth[1:], still)
        return {"clip": clip.name, "frames": len(truth), **own._asdict()} | {
            f"static_{name}": value for name, value in static._asdict().items() if name != "face"
        }

    def _across(
        self, engine: Engine, clips: Sequence[Path], portraits: Sequence[Path]
    ) -> list[dict[str, Any]]:
        """One row for every portrait × clip, and the contact sheet."""
        prepared = {path.stem: self._prepare(engine, path) for path in portraits}
        rows: list[dict[str, Any]] = []
        sheet: list[tuple[str, list[Picture]]] = []
        for path in clips:
            clip = read_clip(path, self.frames)
            shown = self.sheet_at or evenly(len(clip.frames), self.sheet_frames)
            if max(shown) >= len(clip.frames):
                raise ValueError(f"sheet-at {max(shown)}: {clip.name} has only {len(clip.frames)} frames")
            if self.sheet_driver:
                sheet.append((clip.name, [clip.frames[i] for i in (0, *shown)]))
            driver = _measured(clip.frames)
            for name, portrait in prepared.items():
                _progress(f"{name} driven by {clip.name}")
                made = list(perform(engine, portrait, clip, self._controls()))
                rows.append({"portrait": name, "clip": clip.name, **compare(driver, _measured(made))})
                sheet.append((f"{name}, {clip.name}", [at_rest(portrait), *(made[i] for i in shown)]))
                self._keep(f"{clip.name}-{name}", made, clip)
        if self.sheet:
            _save_picture(contact_sheet(sheet, self.sheet_tile), self.sheet)
        return rows

    def _prepare(self, engine: Engine, path: Path) -> Portrait:
        picture = load_picture(path)
        try:
            return engine.prepare(picture[:, ::-1].copy() if self.mirrored else picture)
        except ValueError as error:
            raise ValueError(f"{path.name}: {error}") from None

    def _keep(self, name: str, made: Sequence[Picture], clip: Clip) -> None:
        if self.save:
            self.save.mkdir(parents=True, exist_ok=True)
            write_clip(self.save / f"{name}.mp4", made, clip.fps)


def perform(engine: Engine, portrait: Portrait, clip: Clip, controls: Controls) -> Iterator[Picture]:
    """The avatar's frames for a clip, one for each of its frames, as the product makes them.

    Raises ValueError where the clip never shows a face.
    """
    rule = engine.generator.spec.driving
    avatar = Avatar(portrait, controls)
    with DriverTracker(rule) as tracker:
        avatar.use_neutral(engine.generator.neutral([engine.encode(_first_face(clip, tracker))]))
    with DriverTracker(rule) as tracker:
        for index, frame in enumerate(clip.frames):
            time_s = float(index / clip.fps)
            yield engine.render(avatar, tracker.observe(frame, time_s), time_s).picture


def at_rest(portrait: Portrait) -> Picture:
    """The portrait on its canvas, unmoved."""
    base = portrait.framing.base[0].permute(1, 2, 0).cpu().numpy()
    return (base * 255 + 0.5).astype(np.uint8)


def _first_face(clip: Clip, tracker: DriverTracker) -> Observation:
    """The driver in the first frame with a face, once the tracker has settled on it."""
    for index, frame in enumerate(clip.frames):
        if bool(tracker.observe(frame, float(index / clip.fps)).valid):
            return tracker.warm(frame)
    raise ValueError(f"{clip.name}: no face in any frame")


def _score(truth: Sequence[Picture], made: Sequence[Picture]) -> Fidelity:
    with Judge(refined=False) as of_truth, Judge(refined=False) as of_made:
        tracks = [of_truth.look(frame) for frame in truth], [of_made.look(frame) for frame in made]
    return fidelity(truth, made, *tracks)


def _measured(frames: Sequence[Picture]) -> npt.NDArray[np.float64]:
    """The judge's landmarks of a clip, T×478×3."""
    with Judge(refined=True) as judge:
        for _ in range(JUDGE_PASSES):
            judge.look(frames[0])
        return as_track([judge.look(frame) for frame in frames])


def _save_picture(picture: Picture, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(path, quality=85)


def _progress(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _figure(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _self_table(rows: Sequence[dict[str, Any]]) -> Table:
    table = Table(title="Self-reenactment, inside the face box")
    digits = {"psnr": 2, "ssim": 3, "akd": 2, "face": 3, "static_psnr": 2, "static_ssim": 3, "static_akd": 2}
    for name in ("clip", "frames", *digits):
        table.add_column(name.replace("_", " "), justify="left" if name == "clip" else "right")
    for row in rows:
        table.add_row(row["clip"], str(row["frames"]), *(_figure(row[name], n) for name, n in digits.items()))
    means = (_figure(float(np.mean([row[name] for row in rows])), n) for name, n in digits.items())
    table.add_row("mean", "", *means, style="bold")
    return table


def _pairs_table(rows: Sequence[dict[str, Any]]) -> Table:
    table = Table(
        title="Across identities: correlation / slope with the driver (– where the driver hardly moves)"
    )
    for name in ("portrait", "clip", *QUANTITIES, "jitter", "face"):
        table.add_column(name, justify="left" if name in ("portrait", "clip") else "right")
    for row in rows:
        cells = []
        for name in QUANTITIES:
            pair = row[name] or {"correlation": None, "slope": None}
            cells.append(f"{_figure(pair['correlation'], 2)} / {_figure(pair['slope'], 2)}")
        table.add_row(
            row["portrait"], row["clip"], *cells, _figure(row["jitter"], 2), _figure(row["face"], 2)
        )
    return table


def _summary_table(table_of: dict[str, dict[str, Any]]) -> Table:
    table = Table(title="Across identities: mean / median / worst over the pairs that count")
    for name in ("quantity", "pairs", "correlation", "goal", "slope", "goal"):
        table.add_column(name, justify="left" if name == "quantity" else "right")
    for name in QUANTITIES:
        row, goals = table_of[name], GOALS[name]
        cells = []
        for figure, goal in zip(("correlation", "slope"), goals, strict=True):
            cells += [_spread_cell(row[figure]), "" if goal is None else f"≥ {goal}"]
        table.add_row(name, str(row["pairs"]), *cells)
    row = table_of["jitter"]
    table.add_row("jitter ratio", str(row["pairs"]), _spread_cell(row["ratio"]), f"≤ {JITTER_GOAL}", "", "")
    return table


def _spread_cell(spread: dict[str, float] | None) -> str:
    return (
        "–"
        if spread is None
        else " / ".join(_figure(spread[name], 2) for name in ("mean", "median", "worst"))
    )
