"""Where light is worked out: once for a pixel that one piece of a surface fills, else at each of its samples.

Edges need four samples, what lies between them doesn't: two thirds of the work in pictures of faces.

    N pictures of S×S pixels, 2×2 samples each; M samples that are covered, R spots
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from trainer.data.synthetic.rasteriser import Raster

SIDE = 2  # samples of a pixel, each way
NEAR = 0.05  # of the textures' side: corners of triangles that lie together on a surface are nearer


class Bags(NamedTuple):
    """The corners of triangles that spots consist of, one spot's after another's."""

    corners: Tensor  # int64, vertices
    frames: Tensor  # int64, of the pictures they are in
    weights: Tensor
    begins: Tensor  # R int64


class Spots(NamedTuple):
    """R places: first the P pixels that are worked out whole, then the samples of the Q others."""

    shape: tuple[int, int]  # N, S
    frame: Tensor  # R int64
    triangle: Tensor  # R int64, of a whole pixel that of its first sample
    across: Tensor  # R×2, from the picture's middle to the right and down, in picture widths
    whole: Tensor  # P int64, where in the flattened N·S·S
    mixed: Tensor  # Q int64, likewise
    slots: Tensor  # R − P int64, where in the flattened Q·4
    part: Tensor  # Q, how much of a mixed pixel is covered, in [0, 1]
    bags: Bags

    def values(self, attributes: Tensor) -> Tensor:
        """R×A, of N×V×A, or of V×A where all pictures have the same; of a whole pixel in its middle."""
        corners = self.bags.corners
        if attributes.ndim == 3:
            corners = corners + self.bags.frames * attributes.shape[1]
        table = attributes.flatten(0, -2)
        return F.embedding_bag(
            corners, table, self.bags.begins, mode="sum", per_sample_weights=self.bags.weights.to(table)
        )

    def pixels(self, values: Tensor) -> Tensor:
        """Of values at the spots (R×C) each pixel's mean, with 0 where nothing is: N×C×S×S."""
        frames, side = self.shape
        found = values.new_zeros(frames * side * side, values.shape[1])
        found.index_copy_(0, self.whole, values[: len(self.whole)])
        samples = values.new_zeros(len(self.mixed) * SIDE**2, values.shape[1])
        samples.index_copy_(0, self.slots, values[len(self.whole) :])
        found.index_copy_(0, self.mixed, samples.view(-1, SIDE**2, values.shape[1]).sum(1) / SIDE**2)
        return found.view(frames, side, side, -1).permute(0, 3, 1, 2).contiguous()

    def share(self) -> Tensor:
        """How much of each pixel is covered, in [0, 1]: N×1×S×S."""
        frames, side = self.shape
        found = torch.zeros(frames * side * side, device=self.frame.device)
        found.index_fill_(0, self.whole, 1.0).index_copy_(0, self.mixed, self.part)
        return found.view(frames, 1, side, side)


def spots(raster: Raster, triangles: Tensor, piece: Tensor, uv: Tensor) -> Spots:
    """Of pictures with SIDE×SIDE samples a pixel.

    triangles: T×3. piece: T int64, the piece of surface each belongs to; −1 for those whose light is always
    worked out at each sample. uv: V×2, places in the textures, by which parts of a piece that lie behind one
    another are told apart.
    """
    frames, height, _ = raster.triangle.shape
    side = height // SIDE
    every = torch.arange(len(raster.covered), device=raster.covered.device)
    rows = every.new_full((raster.triangle.numel(),), -1).index_copy(0, raster.covered, every)
    grid = rows.view(frames, side, SIDE, side, SIDE)
    four = [grid[:, :, down, :, right].flatten() for down in range(SIDE) for right in range(SIDE)]
    triangle = raster.triangle.flatten().index_select(0, raster.covered)

    full = ((four[0] | four[1] | four[2] | four[3]) >= 0).nonzero().squeeze(1)
    at = [triangle.index_select(0, rows.index_select(0, full)) for rows in four]
    alike = piece.index_select(0, at[0]) >= 0
    for other in at[1:]:
        alike &= piece.index_select(0, other) == piece.index_select(0, at[0])
    for axis in range(2):
        place = uv[:, axis].index_select(0, triangles[:, 0])
        places = torch.stack([place.index_select(0, one) for one in at])
        alike &= places.amax(0) - places.amin(0) < NEAR
    whole = full.masked_select(alike)
    some = (four[0] & four[1] & four[2] & four[3]) >= 0  # not all of them negative
    mixed = some.index_fill(0, whole, False).nonzero().squeeze(1)

    # Two samples that lie across from each other have the pixel's middle between them.
    together = torch.stack([rows.index_select(0, whole) for rows in (four[0], four[-1])], 1)
    apart = torch.stack([rows.index_select(0, mixed) for rows in four], 1)
    there = apart >= 0
    slots = there.flatten().nonzero().squeeze(1)
    single = apart.flatten().index_select(0, slots)
    pixel = torch.cat((whole, mixed.index_select(0, slots // SIDE**2)))
    frame = pixel // (side * side)
    # In halves of a sample from the pixel's corner.
    within = torch.cat(
        (
            slots.new_full((len(whole), 2), SIDE),
            2 * torch.stack((slots % SIDE, slots % SIDE**2 // SIDE), 1) + 1,
        )
    )
    corner = torch.stack((pixel % side, pixel // side % side), 1) * (2 * SIDE)
    return Spots(
        (frames, side),
        frame,
        triangle.index_select(0, torch.cat((together[:, 0], single))),
        (corner + within) / (2 * SIDE * side) - 0.5,
        whole,
        mixed,
        slots,
        there.sum(1).to(raster.weights) / SIDE**2,
        _bags(raster, triangles.index_select(0, triangle), together, single, frame),
    )


def _bags(raster: Raster, corners: Tensor, together: Tensor, single: Tensor, frame: Tensor) -> Bags:
    """corners: M×3. together: P×2, the rows among the M that whole pixels are the mean of; single: those of
    other samples."""
    count, each = len(together), 3 * together.shape[1]
    rows = torch.cat((together.flatten(), single))
    weights = raster.weights.index_select(0, rows)
    weights[: together.numel()] /= together.shape[1]
    frames = (frame[:count, None].expand(-1, each), frame[count:, None].expand(-1, 3))
    place = torch.arange(len(frame), device=rows.device)
    begins = torch.where(place < count, place * each, (place - count) * 3 + count * each)
    return Bags(
        corners.index_select(0, rows).flatten(),
        torch.cat([part.flatten() for part in frames]),
        weights.flatten(),
        begins,
    )
