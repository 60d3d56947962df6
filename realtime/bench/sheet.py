"""Contact sheets: rows of pictures side by side, for looking at."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

Picture = npt.NDArray[np.uint8]  # H×W×3 RGB

MARGIN = 2  # pixels around each picture
LABEL = 14  # height of a row's title, pixels
BACKGROUND, INK = (24, 24, 24), (230, 230, 230)


def contact_sheet(rows: Sequence[tuple[str, Sequence[Picture]]], tile: int) -> Picture:
    """One picture of all rows. rows: title and pictures, of any size: each is fitted into a square of `tile`
    pixels. A single row goes without its title.

    Raises ValueError where there is nothing to show.
    """
    columns = max((len(pictures) for _, pictures in rows), default=0)
    if not columns:
        raise ValueError("a contact sheet needs at least one picture")
    step = tile + 2 * MARGIN
    label = LABEL if len(rows) > 1 else 0
    sheet = Image.new("RGB", (columns * step, len(rows) * (step + label)), BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    for row, (title, pictures) in enumerate(rows):
        top = row * (step + label)
        if label:
            draw.text((MARGIN, top + 1), title, fill=INK)
        for column, picture in enumerate(pictures):
            image = Image.fromarray(picture)
            image.thumbnail((tile, tile), Image.Resampling.LANCZOS)
            left = column * step + MARGIN + (tile - image.width) // 2
            sheet.paste(image, (left, top + label + MARGIN + (tile - image.height) // 2))
    return np.asarray(sheet)


def evenly(count: int, wanted: int) -> list[int]:
    """At most `wanted` indices spread over 0 … count - 1, the last of each equal part."""
    wanted = min(count, wanted)
    return [(part + 1) * count // wanted - 1 for part in range(wanted)]
