"""Portraits as training clips: the `warp` generator moves them along recorded motions.

What is drawn is known: the clips' landmarks are those that the picture was bent to, not found in it again.
"""

import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import tyro
from pydantic import Field, field_validator
from torch import Tensor

from models import registry
from models.containers import Picture
from models.contract import Controls, Observation
from models.face_tracker import person_mask
from models.neutral import most_neutral
from models.observation import observe, to_unit
from models.portrait_face import portrait_face
from trainer.data.decoding import read_picture
from trainer.data.layouts import Clip, find_clips
from trainer.data.ledger import NO_FACE, UNREADABLE, Ledger, Outcome, Part
from trainer.data.quality import yaw_of
from trainer.data.settings import Settings
from trainer.data.shots import Square, cut_out
from trainer.data.sink import OpenSink, Sink, on_disk
from trainer.data.tracks import FilmedTracks, Track, Tracks
from trainer.data.videos import Progress, is_done

GENERATOR = "warp"
BATCH = 8  # frames that are drawn together
# Nothing of a driver's picture is known: the mouth's inside is synthesised, the light stays.
CONTROLS = {"mouth_pixels": 0.0, "shading": 0.0}
GREY, GREY_SIDE = 0.5, 32  # level and side, pixels, of the picture that stands for the driver's
MOST_SIDE = 4096  # pixels; larger portraits are shrunk
ELSEWHERE = {"folder", "output", "device"}  # settings that don't change what a portrait becomes


class StillSettings(Settings):
    """How portraits are moved."""

    folder: tyro.conf.Positional[Path]
    """The portraits: searched to any depth."""
    output: Path
    """Folder for the clips, the tracked motions and the report. What is there already isn't done again."""
    motions: Path | None = None
    """Videos of faces, whose motion the portraits take on: a folder, or another known data set."""
    size: int = Field(default=256, ge=16, le=512)
    """Side of the pictures, pixels."""
    frames: int = Field(default=64, ge=2)
    """Of each clip; shorter motions give shorter clips."""
    per_portrait: int = Field(default=2, ge=1)
    """Clips of each portrait, each along another motion as long as there are some."""
    seed: int = Field(default=0, ge=0)
    """Of the choice of motions."""
    min_side: int = Field(default=200, ge=1)
    """Pixels of the square that is cut out, in the original: 2.4 times the face."""
    max_yaw: float = Field(default=40.0, ge=0, le=180)
    """Degrees that a portrait's head is turned: of a profile there is too little to be moved."""
    device: str = "cpu"
    """Where they are drawn: cpu, cuda or cuda:N."""

    @field_validator("device")
    @classmethod
    def _is_there(cls, device: str) -> str:
        match = re.fullmatch(r"cpu|cuda(?::(\d+))?", device)
        if match is None:
            raise ValueError("expected cpu, cuda or cuda:N")
        if device != "cpu" and int(match[1] or 0) >= torch.cuda.device_count():
            raise ValueError(f"torch sees {torch.cuda.device_count()} GPUs here")
        return device


def prepare_stills(
    settings: StillSettings,
    motions: Tracks | None = None,
    open_sink: OpenSink | None = None,
    progress: Progress = lambda done, of: None,
) -> dict[str, Any]:
    """Write the clips of a folder of portraits, `report.json` and `report.md`; gives what the former holds.

    motions: where they come from; by default the videos of `settings.motions`. open_sink: as that of
    `prepare_videos`. Raises ValueError, in one line, where there are no portraits, no motions, nothing of
    use, or the output was made with other settings.
    """
    found = find_clips(settings.folder, "stills", settings.output)
    if motions is None:
        if settings.motions is None:
            raise ValueError("portraits need motions: give a folder of face videos with --motions")
        motions = FilmedTracks(settings.motions, settings.output / "motions")
    told = settings.model_dump(mode="json", exclude=ELSEWHERE)
    sink = (on_disk() if open_sink is None else open_sink)(settings.output, "stills", told)
    ledger = Ledger(settings.output, "stills", told)
    tracks = sorted(motions.tracks(), key=lambda track: track.name)
    if not tracks:
        raise ValueError("there are no motions: give a folder of face videos with --motions")
    puppeteer = Puppeteer(settings)
    for done, clip in enumerate(found.clips):
        progress(done, len(found.clips))
        if not is_done(ledger.get(clip.id), sink):
            ledger.add(_prepared(clip, tracks, puppeteer, settings, sink))
    progress(len(found.clips), len(found.clips))
    sink.finish()
    title = f"Portraits of {settings.folder.name} along {len(tracks)} motions"
    report = ledger.report(title, f"{found.layout} ({found.why})", motions.remarks)
    if not report["kept"]["shots"]:
        why = ", ".join(f"{count} {reason}" for reason, count in report["left_out"].items())
        raise ValueError(
            f"no portrait in {settings.folder} is of use ({why}): see {settings.output / 'report.md'}"
        )
    return report


class Portrait:
    """One that was prepared for being moved."""

    def __init__(self, appearance: Any, side: float, yaw: float, warnings: tuple[str, ...]) -> None:
        self.appearance = appearance
        # By the limit that it is compared with: the side of the square that was cut out, pixels of the
        # original; degrees without sign.
        self.figures = {"min_side": side, "max_yaw": yaw}
        self.warnings = warnings

    def fault(self, settings: StillSettings) -> str | None:
        """The name of the limit that it is beyond."""
        if self.figures["min_side"] < settings.min_side:
            return "min_side"
        return "max_yaw" if self.figures["max_yaw"] > settings.max_yaw else None


class Puppeteer:
    """Moves portraits."""

    def __init__(self, settings: StillSettings) -> None:
        self._device = torch.device(settings.device)
        self._size = settings.size
        self._generator = registry.make(GENERATOR).to(self._device).eval()

    @torch.inference_mode()
    def portrait(self, picture: Picture) -> Portrait:
        """Raises ValueError, in words for its owner, where no face in it is of use."""
        face = portrait_face(picture)
        seen = observe(picture, face.points, self._generator.spec.source, person=person_mask(picture))
        appearance = self._generator.encode_appearance([self._moved(to_unit(seen))])
        yaw = float(abs(yaw_of(face.points[None])[0]))
        return Portrait(appearance, float(seen.to_frame[0, 0, 0]), yaw, face.warnings)

    @torch.inference_mode()
    def neutral(self, track: Track) -> Any:
        """The code of the motion's person at rest."""
        rest = most_neutral(list(track.points.astype(np.float64)))
        return self._generator.neutral([self._structure(track.points[rest : rest + 1])])

    @torch.inference_mode()
    def move(
        self, portrait: Portrait, points: npt.NDArray[np.float32], neutral: Any
    ) -> Iterator[tuple[Picture, npt.NDArray[np.float32]]]:
        """Its pictures, size×size, and the landmarks that they were bent to, 478×3 in crop units. points:
        F×478×3, of the motion."""
        whole = portrait.appearance.picture
        for start in range(0, len(points), BATCH):
            structure = self._structure(points[start : start + BATCH])
            batch = len(structure.points)
            controls = Controls.default(batch, self._device, **CONTROLS)
            moved = self._generator.transfer(structure, neutral, portrait.appearance, controls)
            rgb, alpha = self._generator.decode(portrait.appearance, moved)
            shown = torch.lerp(whole.expand(batch, -1, -1, -1), rgb, alpha)
            levels = shown.mul(255).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
            drawn = (moved.points / whole.shape[-1]).float().cpu().numpy()
            square = Square(0, 0, whole.shape[-1])
            for picture, place in zip(levels, drawn, strict=True):
                yield cut_out(picture, square, self._size), place

    def _structure(self, points: npt.NDArray[np.float32]) -> Any:
        """Codes of landmarks without a picture."""
        size = float(np.abs(points).max()) or 1.0
        batch = len(points)
        grey = torch.full((1, 1, 1, 1), GREY).expand(batch, 3, GREY_SIDE, GREY_SIDE)
        to_frame = torch.tensor([[size, 0.0, 0.0], [0.0, size, 0.0]]).expand(batch, 2, 3)
        seen = Observation(
            grey, torch.from_numpy(points / size), to_frame, torch.ones(batch, dtype=torch.bool)
        )
        return self._generator.encode_structure(self._moved(seen))

    def _moved(self, seen: Observation) -> Observation:
        def there(one: Tensor | None) -> Any:
            return None if one is None else one.to(self._device)

        return Observation(*(there(one) for one in seen))


def _prepared(
    clip: Clip, tracks: list[Track], puppeteer: Puppeteer, settings: StillSettings, sink: Sink
) -> Outcome:
    """Write the clips of one portrait. Never fails for what the picture is like."""
    base = Outcome(clip=clip.id, source=str(clip.path))
    try:
        picture = _shrunk(read_picture(clip.path))
    except ValueError as error:
        return base.model_copy(update={"reason": UNREADABLE, "detail": " ".join(str(error).split())})
    try:
        portrait = puppeteer.portrait(picture)
    except ValueError as error:
        return base.model_copy(update={"frames": 1, "faceless": 1, "reason": NO_FACE, "detail": str(error)})
    parts = []
    broke = portrait.fault(settings)
    for track, window in choice(clip.id, tracks, settings):
        part = Part(
            id=f"{clip.id}+{track.name}+{window.start:05}",
            frames=window.stop - window.start,
            first=0,
            last=0,
            broke=broke,
            figure=None if broke is None else portrait.figures[broke],
            limit=None if broke is None else float(getattr(settings, broke)),
        )
        parts.append(part)
        if broke is not None:
            break  # once is enough
        if not sink.has(part.id):
            _write(part.id, clip, portrait, track, window, puppeteer, sink)
    warnings = "; ".join(portrait.warnings)
    return base.model_copy(update={"frames": 1, "parts": tuple(parts), "detail": warnings})


def choice(name: str, tracks: list[Track], settings: StillSettings) -> list[tuple[Track, slice]]:
    """The motions of one portrait, and which frames of each: the same, whatever other portraits there are,
    and none twice; so fewer where motions are few and short."""
    rng = np.random.default_rng([settings.seed, zlib.crc32(name.encode())])
    order = rng.permutation(len(tracks))
    chosen: dict[tuple[int, int], tuple[Track, slice]] = {}
    for number in range(settings.per_portrait):
        place = int(order[number % len(order)])
        track = tracks[place]
        room = max(len(track.points) - settings.frames, 0)
        start = int(rng.integers(room + 1))
        chosen[place, start] = track, slice(start, min(start + settings.frames, len(track.points)))
    return list(chosen.values())


def _write(
    name: str, clip: Clip, portrait: Portrait, track: Track, window: slice, puppeteer: Puppeteer, sink: Sink
) -> None:
    """motion: its name. motion_frame: F, which of its frames each is. Landmarks are what was drawn."""
    frames = list(puppeteer.move(portrait, track.points[window], puppeteer.neutral(track)))
    extra: dict[str, npt.NDArray[Any]] = {
        "motion": np.array(track.name),
        "motion_frame": np.arange(window.start, window.stop, dtype=np.int64),
    }
    points = np.stack([place for _, place in frames])
    valid = np.ones(len(frames), np.bool_)
    sink.write(name, (picture for picture, _ in frames), points, valid, clip.identity, track.fps, extra)


def _shrunk(picture: Picture) -> Picture:
    import cv2

    scale = MOST_SIDE / max(picture.shape[:2])
    if scale >= 1:
        return picture
    return np.asarray(cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8)
