"""A page of rendered people: who they are, what their faces do, and how they turn their heads.

python -m trainer.prepare sheet --output docs/images/rendered.jpg
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field, field_validator

from trainer.data.realism.renders import Order, draw_all
from trainer.data.settings import Settings
from trainer.data.synthetic.anatomy import AT
from trainer.data.synthetic.figure import rest
from trainer.data.synthetic.motion import Motion

KINDS = (".jpg", ".jpeg", ".png")
GAP, MARGIN, TEXT = 2, 12, 13  # pixels: between pictures, round the page, height of letters
PAPER, INK = (255, 255, 255), (70, 70, 70)

# What each column shows: expressions of the full strength, or as strong as said.
EXPRESSIONS: dict[str, dict[str, float]] = {
    "at rest": {},
    "smile": {"mouthSmile": 0.9, "cheekSquint": 0.6, "mouthUpperUp": 0.4},
    "jawOpen": {"jawOpen": 0.8},
    "mouthPucker": {"mouthPucker": 0.9},
    "surprise": {"browInnerUp": 0.8, "browOuterUp": 0.8, "eyeWide": 0.7, "jawOpen": 0.35},
    "frown": {"browDown": 0.9, "eyeSquint": 0.5, "mouthFrown": 0.8, "mouthPress": 0.4},
    "eyeBlink": {"eyeBlink": 1.0},
}
POSES: dict[str, tuple[float, float, float]] = {  # degrees: yaw, pitch, roll
    "yaw -45°": (-45, 0, 0),
    "yaw +45°": (45, 0, 0),
    "pitch +25°": (0, 25, 0),
    "pitch -25°": (0, -25, 0),
    "roll +25°": (0, 0, 25),
}


class SheetSettings(Settings):
    """What is on the page."""

    output: Path
    """The picture to write: a .jpg or .png."""
    people: int = Field(default=12, ge=1, le=100)
    """Rows: a person each."""
    first: int = Field(default=0, ge=0)
    """Number of the first of them."""
    size: int = Field(default=128, ge=32, le=512)
    """Side of each picture, pixels."""
    seed: int = Field(default=0, ge=0)
    """Another number, other people."""
    workers: int = Field(default=2, ge=0)
    """Processes that render; 0: this one."""

    @field_validator("output")
    @classmethod
    def _is_picture(cls, value: Path) -> Path:
        if value.suffix.lower() not in KINDS:
            raise ValueError(f"{value} is no picture's name: end it with {' or '.join(KINDS)}")
        return value


def draw_sheet(settings: SheetSettings) -> Path:
    """Write the page. Raises OSError where it can't be written."""
    columns = len(EXPRESSIONS) + len(POSES)
    people = range(settings.first, settings.first + settings.people)
    orders = [
        Order(
            settings.seed,
            (person,) * columns,
            (person,) * columns,
            tuple(range(columns)),
            moves,
            settings.size,
        )
        for person in people
    ]
    rows = [shots.picture for shots in draw_all(orders, settings.workers)]
    settings.output.parent.mkdir(parents=True, exist_ok=True)
    page = laid_out(rows, [*EXPRESSIONS, *POSES], [str(person) for person in people])
    from PIL import Image

    Image.fromarray(page).save(settings.output, quality=92, subsampling=0)
    return settings.output


def moves(seed: int, columns: Sequence[int]) -> Motion:
    """What faces do in the columns of those numbers; the seed changes nothing."""
    motion = rest(len(columns))
    expression, rotation = motion.expression.clone(), motion.rotation.clone()
    for row, column in enumerate(columns):
        if column < len(EXPRESSIONS):
            for name, strength in list(EXPRESSIONS.values())[column].items():
                for one in (name, f"{name}Left", f"{name}Right"):
                    if one in AT:
                        expression[row, AT[one]] = strength
        else:
            rotation[row] = torch.tensor(list(POSES.values())[column - len(EXPRESSIONS)])
    scale = torch.full_like(motion.scale, 1.15)
    return motion._replace(expression=expression, rotation=rotation, scale=scale)


def laid_out(
    rows: Sequence[npt.NDArray[np.uint8]], above: Sequence[str], beside: Sequence[str]
) -> npt.NDArray[np.uint8]:
    """Rows of pictures (each n×S×S×3) on a page, with words above the columns and beside the rows: H×W×3."""
    from PIL import Image, ImageDraw, ImageFont

    count, size = rows[0].shape[:2]
    font = ImageFont.load_default(TEXT)
    left = MARGIN + int(max(font.getlength(word) for word in beside)) + 8
    top = MARGIN + TEXT + 8
    width = left + count * (size + GAP) - GAP + MARGIN
    height = top + len(rows) * (size + GAP) - GAP + MARGIN
    page = Image.new("RGB", (width, height), PAPER)
    ink = ImageDraw.Draw(page)
    for column, word in enumerate(above):
        ink.text((left + column * (size + GAP) + size / 2, top - 6), word, INK, font, anchor="ms")
    for row, (pictures, word) in enumerate(zip(rows, beside, strict=True)):
        y = top + row * (size + GAP)
        ink.text((left - 8, y + size / 2), word, INK, font, anchor="rm")
        for column, picture in enumerate(pictures):
            page.paste(Image.fromarray(picture), (left + column * (size + GAP), y))
    return np.array(page)
