"""Smooth displacements of space, of which shapes and expressions are made.

A field is a sum of soft blobs: what is near a blob's centre is pushed, or stretched about it. Fields move
whatever lies there, be it skin, hair, or glasses.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from trainer.data.synthetic.mesh import Array

Vector = tuple[float, float, float]
EVERYWHERE: Vector = (1e6, 1e6, 1e6)


class Blob(NamedTuple):
    """A soft region, and what it does: push by `push` cm, or stretch about its centre by `stretch`."""

    centre: Vector  # cm, head space
    radius: Vector  # cm, standard deviations of the region's Gaussian
    push: Vector = (0.0, 0.0, 0.0)
    stretch: Vector = (0.0, 0.0, 0.0)

    def mirrored(self) -> "Blob":
        x, y, z = self.centre
        return self._replace(centre=(-x, y, z), push=(-self.push[0], *self.push[1:]))


def weight(points: Array, centre: Vector, radius: Vector) -> Array:
    """How much of each point (V×3) lies in a region: V, (0, 1]."""
    return np.asarray(np.exp(-0.5 * (((points - centre) / radius) ** 2).sum(1)))


def displacement(points: Array, blobs: Sequence[Blob]) -> Array:
    """Where the blobs together move each point: V×3 → V×3, cm."""
    total = np.zeros_like(points)
    for blob in blobs:
        share = weight(points, blob.centre, blob.radius)[:, None]
        total += share * (np.asarray(blob.push) + (points - blob.centre) * blob.stretch)
    return total


def both_sides(*blobs: Blob) -> tuple[Blob, ...]:
    """With their mirror images."""
    return tuple(blob for one in blobs for blob in (one, one.mirrored()))
