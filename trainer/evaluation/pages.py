"""Pictures of an evaluation, as files."""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from trainer.drawings import error_map, panel, to_levels
from trainer.evaluation.framing import Framed
from trainer.evaluation.readings import Readings
from trainer.evaluation.transfer import Transfer

ABOVE = ("source", "driving", "drawn", "truth", "error", "copy's error")
SHOWN = 12  # rows of a page
LEAST = 128  # pixels that a picture is shown with


def page(found: Readings, rows: int = SHOWN) -> Tensor:
    """3×H×W: some of what was drawn, evenly chosen over the clips and not by how it came out."""
    lines, begin = [], 0
    clips = len(found.framed)
    chosen = {number * clips // min(rows, clips) for number in range(min(rows, clips))}
    for number, clip in enumerate(found.framed):
        if number in chosen:
            frame = number % len(clip.truth)
            source, truth = clip.source.image[0], clip.truth[frame]
            drawn = found.pictures.network[begin + frame]
            driving = _sized(clip.driving.image[frame], truth.shape[-1])
            lines.append([source, driving, drawn, truth, error_map(drawn, truth), error_map(source, truth)])
        begin += len(clip.truth)
    side = lines[0][0].shape[-1]
    return panel(lines, ABOVE, enlarged=max(1, LEAST // side))


def sheet(found: Transfer) -> Tensor:
    """3×H×W: some pairs, evenly chosen, and what became of them."""
    side = found.shown["source"].shape[-1]
    rows = [list(row) for row in zip(*found.shown.values(), strict=True)]
    return panel(rows, tuple(found.shown), enlarged=max(1, LEAST // side))


def save_picture(path: Path, picture: Tensor) -> None:
    """As PNG. Raises OSError where it can't be written."""
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(to_levels(picture)).save(path)


def save_pictures(folder: Path, found: Readings) -> None:
    """All that was drawn and the truth of each: for networks that run elsewhere."""
    truth = torch.cat([clip.truth for clip in found.framed])
    _save_both(folder, 0, found.pictures.network, truth)


def save_sequence(folder: Path, clip: Framed, begin: int, drawn: Tensor) -> None:
    """The same of (a part of) one sequence, whose first frame here is number `begin`, and its source."""
    save_picture(folder / "source.png", clip.source.image[0])
    _save_both(folder, begin, drawn, clip.truth)


def _save_both(folder: Path, begin: int, drawn: Tensor, truth: Tensor) -> None:
    for number, (picture, true) in enumerate(zip(drawn, truth, strict=True), begin):
        save_picture(folder / f"{number:05d}-drawn.png", picture)
        save_picture(folder / f"{number:05d}-truth.png", true)


def _sized(picture: Tensor, side: int) -> Tensor:
    if picture.shape[-1] == side:
        return picture
    return F.interpolate(picture[None], (side, side), mode="bilinear", antialias=True)[0]
