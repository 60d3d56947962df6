"""From the generator's crop to the picture that goes out: where the crop lies on the canvas, and the
blend."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from models.face_geometry import scale_of

Picture = npt.NDArray[np.uint8]  # H×W×3 RGB


class NotFinite(RuntimeError):
    """A network gave NaN or infinite numbers."""

    def __init__(self) -> None:
        super().__init__("a frame was not drawn: the network gave what is no number")


@dataclass(frozen=True)
class Canvas:
    """The size of the pictures that go out, pixels; both even, because video is coded in 2×2 blocks."""

    width: int
    height: int

    def __post_init__(self) -> None:
        if self.width % 2 or self.height % 2 or not (64 <= self.width <= 4096 and 64 <= self.height <= 4096):
            raise ValueError(
                f"canvas {self.width}x{self.height}: both sides must be even and from 64 to 4096"
            )

    @classmethod
    def parse(cls, text: str) -> "Canvas":
        """`512x512`. Raises ValueError for anything that is not WxH."""
        width, _, height = text.lower().partition("x")
        if not (width.isdecimal() and height.isdecimal()):
            raise ValueError(f"canvas {text!r}: write it as WxH, for instance 512x512")
        return cls(int(width), int(height))


class Framing:
    """Composites one portrait's avatar on its canvas.

    picture: the whole portrait, H×W×3 uint8. to_frame: 2×3, crop units → pixels of the portrait. crop: side
    of the generator's square, pixels. canvas: None for the portrait's own size; a square for the crop itself,
    scaled where it has another size; any other shape letterboxes the whole portrait.
    """

    def __init__(
        self,
        picture: Picture,
        to_frame: npt.NDArray[np.float64],
        crop: int,
        canvas: Canvas | None,
        device: torch.device | str = "cpu",
    ) -> None:
        height, width = picture.shape[:2]
        portrait = (
            torch.from_numpy(np.ascontiguousarray(picture)).to(device).permute(2, 0, 1)[None].float() / 255
        )
        if canvas is None:
            size, to_picture = (height, width), np.eye(3)[:2]
        elif canvas.width == canvas.height:
            size = (canvas.height, canvas.width)
            to_picture = to_frame @ np.diag([1 / canvas.width, 1 / canvas.height, 1.0])
        else:
            size = (canvas.height, canvas.width)
            scale = min(canvas.width / width, canvas.height / height)
            margin = np.array([canvas.width - width * scale, canvas.height - height * scale]) / 2
            to_picture = np.array([[1 / scale, 0, -margin[0] / scale], [0, 1 / scale, -margin[1] / scale]])
        self.base = _resample(portrait, to_picture, size)
        whole = np.vstack([to_frame @ np.diag([1 / crop, 1 / crop, 1.0]), [0, 0, 1]])
        to_crop = np.linalg.inv(whole) @ np.vstack([to_picture, [0, 0, 1]])  # canvas pixels → crop pixels
        corners = np.linalg.inv(to_crop) @ np.array([[0, crop, crop, 0], [0, 0, crop, crop], [1, 1, 1, 1]])
        low = np.clip(np.floor(corners[:2].min(1)).astype(int), 0, (size[1], size[0]))
        high = np.clip(np.ceil(corners[:2].max(1)).astype(int), 0, (size[1], size[0]))
        self.region = (slice(int(low[1]), int(high[1])), slice(int(low[0]), int(high[0])))
        if low[0] >= high[0] or low[1] >= high[1]:
            raise ValueError("the face's crop lies outside the canvas")
        local = to_crop[:2].copy()
        local[:, 2] += to_crop[:2, :2] @ low
        region_size = (int(high[1] - low[1]), int(high[0] - low[0]))
        straight = region_size == (crop, crop) and np.abs(local - np.eye(3)[:2]).max() < 1e-6
        self._grid = None if straight else _grid(local, region_size, (crop, crop)).to(device)
        self._to_crop, self._crop = to_crop[:2], crop
        self._is_crop = canvas is not None and canvas.width == canvas.height == crop

    @cached_property
    def grid(self) -> Tensor | None:
        """From the whole canvas to the crop, 1×H×W×2 as grid_sample takes it; None where the one is the
        other, for every portrait."""
        if self._is_crop:
            return None
        size = (self.base.shape[2], self.base.shape[3])
        return _grid(self._to_crop, size, (self._crop, self._crop)).to(self.base.device)

    @cached_property
    def still(self) -> Picture:
        """The canvas without the avatar, H×W×3 uint8, on the host."""
        return _blended(self.base[0], self.base[0], self.base[0, 0])

    def composite(self, rgb: Tensor, alpha: Tensor) -> Picture:
        """The canvas, H×W×3 uint8, on the host. rgb: 1×3×crop×crop in [0, 1]; alpha: 1×1×crop×crop. Raises
        NotFinite where they hold what is no number."""
        rows, columns = self.region
        if self._grid is not None:
            rgb, alpha = _sampled(self._grid, rgb, alpha)
        part = _blended(self.base[0, :, rows, columns], rgb[0], alpha[0, 0])
        if part.shape == self.still.shape:
            return part
        whole = self.still.copy()
        whole[rows, columns] = part
        return whole


def laid_over(base: Tensor, grid: Tensor | None, rgb: Tensor, alpha: Tensor) -> Tensor:
    """B×3×H×W: `base` with crops over it. grid: B×H×W×2, from there to the crops; None where each covers all
    of it, pixel by pixel. rgb: B×3×h×w in [0, 1]; alpha: B×1×h×w."""
    if grid is not None:
        rgb, alpha = _sampled(grid, rgb, alpha)
    return torch.lerp(base, rgb, alpha)


def _sampled(grid: Tensor, rgb: Tensor, alpha: Tensor) -> tuple[Tensor, Tensor]:
    """Crops where a canvas has them; alpha is nought elsewhere."""
    both = F.grid_sample(torch.cat((rgb, alpha), 1), grid, align_corners=False, padding_mode="zeros")
    # Beyond the crop's edge both fade together: dividing gives the colour back, so that no dark rim shows.
    inside = F.grid_sample(torch.ones_like(alpha), grid, align_corners=False, padding_mode="zeros")
    return both[:, :3] / inside.clamp_min(1e-3), both[:, 3:]


def _blended(base: Tensor, rgb: Tensor, alpha: Tensor) -> Picture:
    """From base (3×H×W in [0, 1]) to rgb by alpha (H×W): H×W×3 uint8 on the host. Raises NotFinite."""
    if base.device.type != "cpu":  # as bytes it is a quarter as much to copy
        part = torch.lerp(base, rgb, alpha)
        _check(part.sum())
        return np.asarray(part.mul(255).round_().to(torch.uint8).permute(1, 2, 0).contiguous().cpu().numpy())
    import cv2

    # Plane by plane what has just been written is still at hand, for its sum as for its bytes, which OpenCV
    # makes in a tenth of torch's time. One number that is none makes the sum none.
    plane = torch.empty(base.shape[1:])
    levels = []
    for below, above in zip(base, rgb, strict=True):
        torch.lerp(below, above, alpha, out=plane)
        _check(plane.sum())
        levels.append(cv2.convertScaleAbs(plane.numpy(), alpha=255))
    return np.asarray(cv2.merge(levels), np.uint8)


def _check(total: Tensor) -> None:
    if not bool(torch.isfinite(total)):
        raise NotFinite


def _grid(to_source: npt.NDArray[np.float64], size: tuple[int, int], source: tuple[int, int]) -> Tensor:
    """The grid_sample grid (1×H×W×2) of an affine map from pixels of `size` to pixels of `source` (both
    height, width)."""
    height, width = size
    ys, xs = np.mgrid[0:height, 0:width] + 0.5
    x = to_source[0, 0] * xs + to_source[0, 1] * ys + to_source[0, 2]
    y = to_source[1, 0] * xs + to_source[1, 1] * ys + to_source[1, 2]
    grid = np.stack([x / source[1], y / source[0]], -1) * 2 - 1
    return torch.from_numpy(grid.astype(np.float32))[None]


def _resample(picture: Tensor, to_picture: npt.NDArray[np.float64], size: tuple[int, int]) -> Tensor:
    """`picture` (1×3×H×W) seen through the map from canvas pixels to its own; black outside. Smoothed where
    it shrinks."""
    height, width = picture.shape[2:]
    if size == (height, width) and np.abs(to_picture - np.eye(3)[:2]).max() < 1e-9:
        return picture
    scale = scale_of(to_picture)  # picture pixels a canvas pixel
    if scale > 1:
        smaller = (max(1, round(height / scale)), max(1, round(width / scale)))
        picture = F.interpolate(picture, size=smaller, mode="bilinear", align_corners=False, antialias=True)
        to_picture = np.diag([smaller[1] / width, smaller[0] / height]) @ to_picture
    grid = _grid(to_picture, size, (picture.shape[2], picture.shape[3])).to(picture.device)
    # The border is repeated and then cut off: sampled against black, the outermost pixels would darken.
    inside = (grid.abs().amax(-1) <= 1)[:, None]
    return F.grid_sample(picture, grid, align_corners=False, padding_mode="border") * inside
