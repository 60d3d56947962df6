"""Bring a portrait to life with a recorded clip:

    python -m realtime.animate --source examples/mona_lisa.jpg --driving me.mp4 --output mona_lisa.mp4
    python -m realtime.animate --source me.png --driving frames/ --output out.mp4 --neutral auto --compare

The same tracker, engine and compositor as the live path. Every frame is kept, with its time, and so is
the sound.
"""

import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from models.command_line import fail, parse, terminable
from models.contract import EDITS, Controls
from models.face_tracker import FaceTracker
from models.native_messages import native_messages_muted
from models.neutral import NO_FACE, most_neutral
from realtime import __version__
from realtime.avatar import Avatar
from realtime.config import DriverPixels, check_source, controls_of
from realtime.controls import ControlPanel
from realtime.devices import Backend, Device, Precision, choose_device, choose_half, use_threads
from realtime.engine import Engine
from realtime.film import Film, check_output
from realtime.footage import Footage, Frame, open_footage
from realtime.generators import device_of, make_generator, name_of
from realtime.pictures import load_picture
from realtime.tracker import DriverTracker

log = logging.getLogger(__name__)

PROGRAM = "reenact-animate"

Picture = npt.NDArray[np.uint8]  # H×W×3 RGB


@dataclass(frozen=True)
class Animation:
    """What to animate, and how. Raises ValueError where the settings contradict each other."""

    source: tuple[Path, ...]
    """Picture of the face to bring to life (JPEG, PNG, WebP or BMP). May be given several times, for models
    that look at several pictures of a person: the avatar is put into the first."""
    driving: Path
    """Clip whose face drives it, or a folder of pictures (in the order of their names, 25 a second)."""
    output: Path
    """Clip to write: .mp4, .mov or .mkv."""
    model: str = "auto"
    """Generator, as NAME or NAME:SIZE: warp, imf, dae_gan, landmark_gan, latent or liveportrait; or the
    folder that trainer.export wrote. auto takes liveportrait where models.fetch got its weights and the
    device makes 20 frames a second, else warp."""
    backend: Backend = "auto"
    """What runs the generator: torch runs those that have a name, onnx (ONNX Runtime) those of a folder; auto
    takes the one that goes with the model."""
    weights: str | None = None
    """The generator's weights (safetensors), for all but warp, where models.fetch didn't get them; or random,
    whose picture is noise, to try without."""
    device: Device = "auto"
    """Where the generator runs; auto takes a GPU where there is one."""
    precision: Precision = "auto"
    """Of a network's numbers: float32, fp16 or bf16; auto takes fp16 on CUDA where that is known to do."""
    neutral: str = "first"
    """The driver at rest, from where his motion counts: first (frame with a face), auto (the most neutral
    frame) or a frame's number, counted from 0."""
    compare: bool = False
    """Write source, driving and avatar side by side."""
    driver_pixels: DriverPixels = "mouth+shading"
    """What of the driver's own picture may be seen: nothing, the mouth's inside, or that and the light."""
    absolute: bool = False
    """Take over the driver's pose as it stands, and not its change since the neutral one."""
    gain_pose: float = 1.0
    """How much of the head's motion is shown, 0 to 2."""
    gain_expression: float = 1.0
    """How much of the expression is shown, 0 to 2."""
    eyes: float = 1.0
    """How much of gaze and lids is shown, 0 to 2, on top of the expression's."""
    lips: float = 1.0
    """How much of the mouth is shown, 0 to 2, on top of the expression's."""
    face: float = 1.0
    """How much of all other expression is shown, 0 to 2, on top of the expression's (liveportrait)."""
    retarget: bool = False
    """Open eyes and lips as far as the driver's landmarks are open (liveportrait)."""
    stitching: float = 1.0
    """How much is done to keep the shoulders where they are, 0 to 1 (liveportrait)."""
    turn: float = 0.0
    """Turn the head beside what the driver does, -1 to 1: to the picture's left or right. This slider and the
    following are of networks with directions (trainer.export --directions)."""
    nod: float = 0.0
    """Hold the head lower or higher, -1 to 1."""
    tilt: float = 0.0
    """Tilt the head, -1 to 1: against the clock or with it."""
    jaw: float = 0.0
    """Shut or open the mouth, -1 to 1."""
    smile: float = 0.0
    """Smile less or more, -1 to 1."""
    blink: float = 0.0
    """Open or shut the eyes, -1 to 1."""
    version: bool = False
    """Print the version and leave."""

    def __post_init__(self) -> None:
        check_source(self.source)
        if self.neutral not in ("first", "auto") and not self.neutral.isdecimal():
            raise ValueError(f"neutral {self.neutral!r}: write first, auto or the number of a frame")
        check_output(self.output)
        for other in (*self.source, self.driving):
            if self.output.exists() and other.exists() and self.output.samefile(other):
                raise ValueError(f"output {self.output} would overwrite what it is made from")

    @property
    def changed(self) -> list[str]:
        """The controls of the motion that are not as they are by default."""
        pixels = controls_of(self.driver_pixels)
        usual = Controls.default()._asdict()
        return [name for name, value in self.wishes.items() if value != usual[name] and name not in pixels]

    @property
    def wishes(self) -> dict[str, float]:
        """The controls, by name."""
        return {
            "relative": float(not self.absolute),
            "gain_pose": self.gain_pose,
            "gain_expression": self.gain_expression,
            "eyes": self.eyes,
            "lips": self.lips,
            "face": self.face,
            "retarget": float(self.retarget),
            "stitching": self.stitching,
            **controls_of(self.driver_pixels),
            **{name: getattr(self, name) for name in EDITS},
        }


@dataclass
class Report:
    """What became of an animation."""

    frames: int = 0
    faceless: int = 0  # frames in which no face was seen


def main(arguments: Sequence[str] | None = None) -> None:
    """The command. Ends with exit code 2 and one line where its user asked for what can't be."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if "--version" in arguments:  # before anything that is required
        print(__version__)
        return
    logging.basicConfig(level="WARNING", format=f"{PROGRAM}: %(message)s")
    try:
        about = "Bring a portrait to life with a recorded clip."
        settings = parse(Animation, arguments, PROGRAM, about, repeated=True)
        with terminable(), native_messages_muted():
            report = animate(settings)
    except ValueError as error:
        fail(str(error), PROGRAM)
    except KeyboardInterrupt:
        print(f"{PROGRAM}: stopped; nothing was written", file=sys.stderr)
        raise SystemExit(130) from None
    lost = f", {report.faceless} of them without a face" if report.faceless else ""
    print(f"{settings.output}: {report.frames} frames{lost}")


def animate(settings: Animation) -> Report:
    """Write the clip. Raises ValueError, in words for a user, where source, clip or output can't be used."""
    first, *others = [load_picture(path) for path in settings.source]
    source = even(first)
    with open_footage(settings.driving) as footage:
        use_threads(0)
        device = choose_device(settings.device)
        generator = make_generator(
            settings.model,
            settings.weights,
            len(settings.source),
            device,
            settings.precision,
            settings.backend,
        )
        device = device_of(generator, device)
        engine = Engine(generator, device, half=choose_half(settings.precision, generator.spec, device))
        portrait = engine.prepare(source, *others)
        for warning in portrait.warnings:
            log.warning("%s", warning)
        spec = generator.spec
        panel = ControlPanel(spec, {})
        wishes = {name: value for name, value in settings.wishes.items() if name in spec.controls}
        if vain := [name for name in settings.changed if name not in spec.controls]:
            log.warning("model %s has no control %s: left out", name_of(spec), ", ".join(vain))
        avatar = Avatar(portrait, panel.tensors(panel.check(wishes), engine.device))
        if settings.neutral != "first":
            avatar.use_neutral(neutral_of(engine, at_rest(footage, settings.neutral)))
        report = Report()
        height, width = source.shape[:2]
        size = (3 * width if settings.compare else width, height)
        with (
            DriverTracker(spec.driving) as tracker,
            Film(settings.output, size, footage.time_base, footage.rate, footage.audio) as film,
            _progress(footage.count) as advance,
        ):
            for frame in footage.frames(film.write_audio):
                picture = _step(engine, avatar, tracker, frame, report)
                if settings.compare:
                    picture = side_by_side(source, frame.picture, picture)
                film.write(picture, frame.pts)
                advance()
            if report.faceless == report.frames:
                raise ValueError(NO_FACE)
    if footage.warning:
        log.warning("%s", footage.warning)
    return report


def _step(engine: Engine, avatar: Avatar, tracker: DriverTracker, frame: Frame, report: Report) -> Picture:
    """One frame of the avatar. The first face, once the tracker has settled on it, is the neutral pose, if
    none is set yet."""
    observation = tracker.observe(frame.picture, frame.time_s)
    if avatar.neutral is None and bool(observation.valid[0]):
        avatar.use_neutral(engine.generator.neutral([engine.encode(tracker.warm(frame.picture))]))
        observation = tracker.observe(frame.picture, frame.time_s)
    rendered = engine.render(avatar, observation, frame.time_s)
    report.frames += 1
    report.faceless += not rendered.face
    return rendered.picture


def at_rest(footage: Footage, choice: str) -> Picture:
    """The frame of that number, or the most neutral one (auto). Raises ValueError where there is none."""
    if choice == "auto":
        with FaceTracker() as faces:
            number = most_neutral([faces.track(frame.picture) for frame in footage.frames()])
    else:
        number = int(choice)
    count = 0
    for count, frame in enumerate(footage.frames(), 1):
        if count > number:
            return frame.picture
    raise ValueError(f"neutral {number}: the driving footage has only {count} frames, counted from 0")


def neutral_of(engine: Engine, picture: Picture) -> Any:
    """The driver's code at rest, from one frame. Raises ValueError where it shows no face."""
    with DriverTracker(engine.generator.spec.driving) as tracker:
        observation = tracker.warm(picture)
    if not bool(observation.valid[0]):
        raise ValueError("no face in the neutral frame: choose another with --neutral")
    return engine.generator.neutral([engine.encode(observation)])


def even(picture: Picture) -> Picture:
    """The picture with even sides, as video wants them: odd ones grow by a copy of the last row or column."""
    height, width = picture.shape[:2]
    return np.pad(picture, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")


def side_by_side(source: Picture, driving: Picture, avatar: Picture) -> Picture:
    """The three in one row; the driving frame is fitted into a panel of the source's size."""
    import cv2

    height, width = source.shape[:2]
    scale = min(width / driving.shape[1], height / driving.shape[0])
    fitted = max(1, round(driving.shape[1] * scale)), max(1, round(driving.shape[0] * scale))
    small = cv2.resize(driving, fitted, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    panel = np.zeros_like(source)
    top, left = (height - fitted[1]) // 2, (width - fitted[0]) // 2
    panel[top : top + fitted[1], left : left + fitted[0]] = small
    return np.hstack([source, panel, avatar])


@contextmanager
def _progress(total: int) -> "Iterator[Any]":
    """A bar on a terminal, nothing elsewhere. Yields what is to be called after each frame."""
    console = Console(file=sys.stderr)
    columns = (TextColumn("animating"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("animating", total=total or None)
        yield lambda: bar.advance(task)


if __name__ == "__main__":
    main()
