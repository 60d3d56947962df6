"""Numbers as pictures: maps in colours, pages of pictures with words, plots of curves and bars.

Pictures are 3×H×W or, where it says …, with any number of axes before them; RGB in [0, 1]. What is given on
a device stays there, apart from pages and plots, which Pillow draws. Words on them are in its own font:
ASCII and ° ± · …, anything else is an empty box.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

if TYPE_CHECKING:
    from PIL.Image import Image as Page
    from PIL.ImageDraw import ImageDraw as Ink
    from PIL.ImageFont import FreeTypeFont as Font

# The colour map viridis (S. van der Walt and N. Smith, CC0), at every 32nd of its way: the corners of the
# broken line that fits its 256 colours best. That line is within 1.1 levels of them.
VIRIDIS = """
    440154 470d60 48186a 482374 472d7b 453681 424086 3f4989 3b528b 375a8d 33638d
    2f6a8e 2c728e 297a8e 26818e 23898e 21908d 1f988b 1e9f88 21a685 27ae80 31b57b
    3dbc74 4cc26c 5cc963 6ece58 81d44c 96d840 abdc32 c0df24 d5e219 eae519 fde725
"""
CORNERS = tuple(tuple(value / 255 for value in bytes.fromhex(word)) for word in VIRIDIS.split())
MOST_ERROR = 96 / 255  # where the error map ends: Kassapis et al.'s
NO_NUMBER = (1.0, 0.0, 1.0)  # magenta

# Okabe and Ito's colours, which colour-blind people tell apart; the pale yellow is left out.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000")
PAPER, INK, PALE = "#ffffff", "#464646", "#e2e2e2"
GAP, MARGIN, TEXT = 2, 12, 13  # pixels: between pictures, round a page, height of letters
FINER = 4  # lines are drawn on a page so many times as large


def viridis(values: Tensor) -> Tensor:
    """values: …×H×W in [0, 1], others are clipped. Returns …×3×H×W; magenta where there is no number."""
    corners = torch.tensor(CORNERS, dtype=torch.float32, device=values.device)
    there = torch.isfinite(values)
    at = torch.where(there, values, 0).float().clamp(0, 1) * (len(CORNERS) - 1)
    before = at.long().clamp(max=len(CORNERS) - 2)
    mixed = torch.lerp(corners[before], corners[before + 1], (at - before)[..., None])
    return torch.where(there[..., None], mixed, corners.new_tensor(NO_NUMBER)).movedim(-1, -3)


def error_map(drawn: Tensor, truth: Tensor) -> Tensor:
    """How far two pictures (…×3×H×W) are from one another, as Kassapis et al. show it: the absolute
    difference averaged over the colours, from 0 to 96 of 255 levels, in viridis. …×3×H×W."""
    return viridis((drawn.float() - truth.float()).abs().mean(-3) / MOST_ERROR)


def flow_wheel(flow: Tensor, most: float | None = None) -> Tensor:
    """Directions as hues, lengths as saturations: white is rest, red goes right, yellow-green down, cyan
    left and violet up.

    flow: …×2×H×W, right and down. most: the length, in the flow's unit, from which on colours are full; by
    default the greatest. Returns …×3×H×W; black where there is no number, as Middlebury's has it.
    """
    there = torch.isfinite(flow).all(-3)
    right, down = torch.where(there[..., None, :, :], flow, 0).float().unbind(-3)
    length = torch.hypot(right, down)
    limit = torch.as_tensor(most if most is not None else length.max(), device=flow.device)
    saturation = (length / limit.clamp(min=torch.finfo(torch.float32).tiny)).clamp(max=1)
    turn = 6 * torch.atan2(down, right) / math.tau % 6
    parts = [(turn - 3).abs() - 1, 2 - (turn - 2).abs(), 2 - (turn - 4).abs()]
    picture = 1 - saturation[..., None, :, :] * (1 - torch.stack(parts, -3).clamp(0, 1))
    return torch.where(there[..., None, :, :], picture, 0)


def attention_map(weights: Tensor, most: float | None = None) -> Tensor:
    """weights: 1×H×W or K×1×H×W, not negative. most: the weight from which on it is yellow; by default the
    greatest of all. Returns 3×H×W or K×3×H×W, in viridis."""
    weights = weights.float()
    finite = torch.where(torch.isfinite(weights), weights, 0)
    limit = torch.as_tensor(most if most is not None else finite.max(), device=weights.device)
    return viridis((weights / limit.clamp(min=torch.finfo(torch.float32).tiny)).squeeze(-3))


def to_levels(picture: Tensor) -> npt.NDArray[np.uint8]:
    """picture: 3×H×W; clipped to [0, 1]. Returns H×W×3; magenta where a colour is no number."""
    assert picture.ndim == 3, f"one picture is 3×H×W, this is {tuple(picture.shape)}"
    assert picture.shape[0] == 3, f"one picture is 3×H×W, this is {tuple(picture.shape)}"
    picture = picture.detach().float().cpu()
    there = torch.isfinite(picture).all(0)
    shown = torch.where(there, picture, torch.tensor(NO_NUMBER)[:, None, None])
    return np.ascontiguousarray((shown.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy())


def panel(
    rows: Sequence[Sequence[Tensor]], above: Sequence[str], beside: Sequence[str] = (), enlarged: int = 1
) -> Tensor:
    """A page of pictures with words above its columns and, where some are given, beside its rows.

    rows: pictures of one size, 3×H×W. enlarged: how many times as large small pictures are shown, without
    smoothing. Returns 3×H×W. Raises ValueError where pictures or words don't fit together.
    """
    sizes = {tuple(picture.shape) for row in rows for picture in row}
    if len(sizes) != 1 or len(next(iter(sizes))) != 3:
        raise ValueError(f"pictures of one size are needed, 3×H×W: these are {sorted(sizes)}")
    if {len(row) for row in rows} != {len(above)} or len(beside) not in (0, len(rows)):
        raise ValueError(
            f"{len(rows)} rows of {sorted({len(row) for row in rows})} pictures, "
            f"but {len(above)} words above and {len(beside)} beside them"
        )
    high, wide = (enlarged * side for side in next(iter(sizes))[1:])
    font = _font()
    across = [max(wide, math.ceil(font.getlength(word)) + 8) for word in above]
    left = MARGIN + (max(math.ceil(font.getlength(word)) for word in beside) + 8 if beside else 0)
    top = MARGIN + TEXT + 8
    page, ink = _page(
        left + sum(across) + GAP * (len(across) - 1) + MARGIN, top + len(rows) * (high + GAP) - GAP + MARGIN
    )
    begins = [left + sum(across[:column]) + GAP * column for column in range(len(across))]
    for x, width, word in zip(begins, across, above, strict=True):
        ink.text((x + width / 2, top - 7), word, INK, font, anchor="ms")
    for number, row in enumerate(rows):
        y = top + number * (high + GAP)
        if beside:
            ink.text((left - 8, y + high / 2), beside[number], INK, font, anchor="rm")
        for x, width, picture in zip(begins, across, row, strict=True):
            levels = to_levels(picture).repeat(enlarged, 0).repeat(enlarged, 1)
            page.paste(_pasted(levels), (x + (width - wide) // 2, y))
    return _picture(page)


class _Axis(NamedTuple):
    """One direction of a plot."""

    least: float
    most: float
    ticks: list[float]
    logarithmic: bool

    def along(self, value: float) -> float:
        """From 0 at the axis' start to 1 at its end."""
        if not self.logarithmic:
            return (value - self.least) / (self.most - self.least)
        return math.log(value / self.least) / math.log(self.most / self.least)


def curve_plot(
    series: Mapping[str, Sequence[tuple[float, float]]],
    title: str = "",
    across: str = "step",
    up: str = "",
    size: tuple[int, int] = (420, 720),
    logarithmic: bool = False,
) -> Tensor:
    """Lines through points, in the order that they are given; a line is broken where a number is not finite.

    series: x and y of each line's points, by what it is called. across, up: what the axes are. size: height
    and width, pixels. logarithmic: of y, which then is positive where it is shown. Returns 3×H×W.
    Raises ValueError for nothing to show and for more lines than colours.
    """
    if len(series) > len(COLOURS):
        raise ValueError(f"{len(series)} lines in one plot: at most {len(COLOURS)} are told apart")
    shown = [
        (x, y) for points in series.values() for x, y in points if _fit(x, False) and _fit(y, logarithmic)
    ]
    if not shown:
        raise ValueError("no point to plot: none is finite" + (" and positive" if logarithmic else ""))
    horizontal = _axis([x for x, _ in shown], tight=True)
    vertical = _axis([y for _, y in shown], logarithmic=logarithmic)
    (height, width), font = size, _font()
    page, ink = _page(width, height)
    marks = [_shorten(tick) for tick in vertical.ticks]
    left = MARGIN + max(font.getlength(mark) for mark in marks) + 8
    key = max(font.getlength(name) for name in series)
    right, bottom = width - MARGIN - key - 36, height - MARGIN - 2 * TEXT - 14
    top = MARGIN + (TEXT + 8 if title else 0) + (TEXT + 8 if up else 0) + 6
    if right - left < 100 or bottom - top < 60:
        raise ValueError(f"{width}×{height} pixels leave no room for the plot beside its words")

    def place(x: float, y: float) -> tuple[float, float]:
        return left + horizontal.along(x) * (right - left), bottom - vertical.along(y) * (bottom - top)

    for tick, mark in zip(vertical.ticks, marks, strict=True):
        y = place(horizontal.least, tick)[1]
        ink.line((left, round(y), right, round(y)), PALE)
        ink.text((left - 8, y), mark, INK, font, anchor="rm")
    for tick in horizontal.ticks:
        x = place(tick, vertical.least)[0]
        ink.line((round(x), bottom, round(x), bottom + 4), INK)
        ink.text((x, bottom + 8), _shorten(tick), INK, font, anchor="ma")
    ink.line((left, bottom, right, bottom), INK)
    ink.text(((left + right) / 2, height - MARGIN), across, INK, font, anchor="ms")
    ink.text((MARGIN, top - TEXT), up, INK, font, anchor="ls")
    ink.text((width / 2, MARGIN), title, INK, _font(TEXT + 2), anchor="mt")
    for row, ((name, points), colour) in enumerate(zip(series.items(), COLOURS, strict=False)):
        y = top + row * (TEXT + 7) + TEXT / 2
        _line(page, [(right + 12, y), (right + 28, y)], colour)
        ink.text((right + 34, y), name, INK, font, anchor="lm")
        runs = itertools.groupby(points, key=lambda at: _fit(at[0], False) and _fit(at[1], logarithmic))
        for fit, run in runs:
            if fit:
                _line(page, [place(x, y) for x, y in run], colour)
    return _picture(page)


def bar_plot(
    values: Mapping[str, float],
    title: str = "",
    baseline: tuple[str, float] | None = None,
    width: int = 720,
) -> Tensor:
    """A table of numbers, not negative, with a bar behind each: an ablation's, say.

    baseline: the name and height of a dashed line through all bars. Returns 3×H×W. A number that is not
    finite is written without a bar. Raises ValueError for negative numbers and where none is finite.
    """
    lengths = [value for value in values.values() if math.isfinite(value)]
    lengths += [baseline[1]] if baseline is not None else []
    if not lengths or min(lengths) < 0 or not math.isfinite(max(lengths)):
        raise ValueError("bars need at least one finite number, and none that is negative")
    font, step = _font(), TEXT + 13
    top = MARGIN + (TEXT + 12 if title else 0) + (TEXT + 8 if baseline is not None else 0)
    page, ink = _page(width, top + len(values) * step + MARGIN)
    written = [f"{value:.3g}" for value in values.values()]
    left = MARGIN + max(font.getlength(name) for name in values) + 10
    right = width - MARGIN - max(font.getlength(word) for word in written) - 6
    if right - left < 100:
        raise ValueError(f"{width} pixels leave no room for bars beside their words")
    scale = (right - left) / (max(lengths) or 1.0)
    ink.text((width / 2, MARGIN), title, INK, _font(TEXT + 2), anchor="mt")
    for row, ((name, value), word) in enumerate(zip(values.items(), written, strict=True)):
        y = top + row * step
        end = left + (value * scale if math.isfinite(value) else 0)
        ink.text((left - 10, y + step / 2), name, INK, font, anchor="rm")
        if end > left:
            ink.rectangle((left, y + 3, end, y + step - 4), COLOURS[0])
        ink.text((end + 6, y + step / 2), word, INK, font, anchor="lm", stroke_width=2, stroke_fill=PAPER)
    if baseline is not None:
        x = left + baseline[1] * scale
        for y in range(top, top + len(values) * step, 6):
            ink.line((x, y, x, y + 2), COLOURS[1], 2)
        said = f"{baseline[0]} {baseline[1]:.3g}"
        x = min(max(x, MARGIN + font.getlength(said) / 2), width - MARGIN - font.getlength(said) / 2)
        ink.text((x, top - 5), said, COLOURS[1], font, anchor="ms")
    return _picture(page)


def _fit(value: float, positive: bool) -> bool:
    return math.isfinite(value) and (value > 0 or not positive)


def _axis(values: Sequence[float], tight: bool = False, logarithmic: bool = False) -> _Axis:
    """Round ticks for the values. tight: it ends where the values do, else at ticks."""
    least, most = min(values), max(values)
    if logarithmic:
        low, high = math.floor(math.log10(least)), math.ceil(math.log10(most))
        high = max(high, low + 1)
        between = (1, 2, 5) if high - low <= 2 else (1,)
        ticks = [lead * 10.0**power for power in range(low, high) for lead in between] + [10.0**high]
        every = math.ceil(len(ticks) / 8)
        return _Axis(10.0**low, 10.0**high, ticks[::every], True)
    if least == most:
        spare = abs(least) / 2 or 0.5
        least, most = least - spare, most + spare
    rough = (most - least) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(lead * power for lead in (1, 2, 5, 10) if lead * power >= rough * 0.999)
    first, last = math.floor(least / step), math.ceil(most / step)
    ticks = [number * step for number in range(first, last + 1)]
    if not tight:
        return _Axis(ticks[0], ticks[-1], ticks, False)
    inside = [tick for tick in ticks if least - step * 1e-6 <= tick <= most + step * 1e-6]
    return _Axis(least, most, inside, False)


def _shorten(value: float) -> str:
    """A tick's number: 12500 is 12.5k."""
    for unit, word in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= unit:
            return f"{value / unit:.4g}{word}"
    return f"{value:.4g}"


def _line(page: "Page", points: Sequence[tuple[float, float]], colour: str) -> None:
    """A smooth line of two pixels, or a dot where there is one point."""
    from PIL import Image, ImageDraw

    mask = Image.new("L", (page.width * FINER, page.height * FINER))
    ink = ImageDraw.Draw(mask)
    fine = [((x + 0.5) * FINER, (y + 0.5) * FINER) for x, y in points]
    if len(fine) > 1:
        ink.line(fine, 255, 2 * FINER, joint="curve")
    else:
        ink.circle(fine[0], 2.5 * FINER, 255)
    page.paste(colour, (0, 0), mask.reduce(FINER))


def _font(size: int = TEXT) -> "Font":
    from PIL import ImageFont

    font = ImageFont.load_default(size)
    assert isinstance(font, ImageFont.FreeTypeFont), "Pillow without FreeType has one size of letters"
    return font


def _page(width: float, height: float) -> tuple["Page", "Ink"]:
    from PIL import Image, ImageDraw

    page = Image.new("RGB", (math.ceil(width), math.ceil(height)), PAPER)
    return page, ImageDraw.Draw(page)


def _pasted(levels: npt.NDArray[Any]) -> "Page":
    from PIL import Image

    return Image.fromarray(levels)


def _picture(page: "Page") -> Tensor:
    return torch.from_numpy(np.array(page)).permute(2, 0, 1).float() / 255
