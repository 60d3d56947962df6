"""All that is asked of rendered faces, measured: a table, and check.json and check.md.

python -m trainer.prepare check --media ../shared/media --output docs/check
python -m trainer.prepare check --only detection tones --quick
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, NamedTuple, get_args

from pydantic import Field

from models import weights
from trainer.data.realism import anthropometry, detection, embedder, feeding, regressor, speed, tones
from trainer.data.realism.media import check_media
from trainer.data.realism.readings import Findings, as_json, table
from trainer.data.settings import Settings

Part = Literal["detection", "regressor", "embedder", "anthropometry", "tones", "speed", "loader"]
PARTS: tuple[Part, ...] = get_args(Part)


class Effort(NamedTuple):
    """How much is drawn and learnt."""

    renders: int  # to find faces in
    regressor_people: int
    regressor_steps: int
    embedder_people: int  # half of them to learn
    embedder_steps: int
    people: int  # whose proportions and tones are measured
    tracked: int  # of them, by MediaPipe too
    clips: int  # whose drawing is timed …
    frames: int  # … and their length
    batches: int  # that a loop waits for


FULL = Effort(1000, 1000, 2500, 1000, 3000, 1000, 200, 32, 64, 20)
QUICK = Effort(8, 2, 2, 4, 2, 10, 2, 2, 2, 2)


class CheckSettings(Settings):
    """What to measure."""

    only: tuple[Part, ...] = PARTS
    """Parts of the check; by default all."""
    media: Path | None = None
    """Folder with portraits/ and driving/: real faces to compare with. None: what needs them is left out."""
    output: Path | None = None
    """Folder for check.json and check.md, and the weights of regressor and embedder, judges for
    trainer.evaluate's --landmarks and --csim-synthetic."""
    seed: int = Field(default=0, ge=0)
    """Another number, other people and other lessons."""
    workers: int = Field(default=2, ge=0)
    """Processes that render, of one thread each; 0: this one alone. Speed is that of one at least."""
    quick: bool = False
    """Tiny numbers, to see that it runs: the figures then say nothing."""

    @property
    def effort(self) -> Effort:
        return QUICK if self.quick else FULL


def check(settings: CheckSettings) -> Iterator[Findings]:
    """Measures part by part, in the order of `PARTS`, and writes the files after each.

    Raises ValueError, before anything is drawn, for a folder of media that isn't laid out as expected, and
    OSError where the output can't be written.
    """
    if settings.media is not None:
        check_media(settings.media)
    if settings.output is not None:
        settings.output.mkdir(parents=True, exist_ok=True)
    found: list[Findings] = []
    for part in PARTS:
        if part in settings.only:
            found.append(_measured(part, settings))
            if settings.output is not None:
                write(found, settings)
                if (network := found[-1].network) is not None:
                    weights.save_state(network, settings.output / f"{part}.safetensors")
            yield found[-1]


def write(found: list[Findings], settings: CheckSettings) -> None:
    """check.json and check.md in the output folder."""
    assert settings.output is not None
    told = {"settings": settings.model_dump(mode="json")} | as_json(found)
    head = "# Rendered faces, measured\n\n"
    if settings.quick:
        head += "With `--quick`: these figures only show that everything runs.\n\n"
    (settings.output / "check.json").write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    (settings.output / "check.md").write_text(head + table(found), encoding="utf-8")


def _measured(part: Part, settings: CheckSettings) -> Findings:
    effort, seed, workers, media = settings.effort, settings.seed, settings.workers, settings.media
    measures: dict[Part, Callable[[], Findings]] = {
        "detection": lambda: detection.measure(effort.renders, seed, workers),
        "regressor": lambda: regressor.measure(
            effort.regressor_people, effort.regressor_steps, seed, workers, media
        ),
        "embedder": lambda: embedder.measure(effort.embedder_people, effort.embedder_steps, seed, workers),
        "anthropometry": lambda: anthropometry.measure(effort.people, effort.tracked, seed, workers, media),
        "tones": lambda: tones.measure(effort.people, seed),
        "speed": lambda: speed.measure(effort.clips, effort.frames, seed, max(workers, 1)),
        "loader": lambda: feeding.measure(effort.clips, effort.batches, seed, max(workers, 1)),
    }
    return measures[part]()
