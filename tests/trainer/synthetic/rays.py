"""Where rays meet a mesh: the plain way, to judge geometry by."""

import numpy as np

from trainer.data.synthetic.mesh import Array, Mesh


def furthest(mesh: Mesh, origins: Array, rays: Array) -> Array:
    """The last place where rays (N×3, from N×3) meet a mesh, in lengths of the ray; NaN where they don't.

    T. Möller, B. Trumbore, Fast, Minimum Storage Ray-Triangle Intersection (1997).
    """
    a, b, c = (mesh.points[mesh.triangles[:, corner]] for corner in range(3))
    first, second = b - a, c - a
    found = []
    for origin, ray in zip(np.broadcast_to(origins, rays.shape), rays, strict=True):
        across = np.cross(ray, second)
        determinant = (first * across).sum(1)
        determinant = np.where(np.abs(determinant) < 1e-12, np.nan, determinant)  # along the triangle
        from_a = origin - a
        u = (from_a * across).sum(1) / determinant
        turned = np.cross(from_a, first)
        v = (turned @ ray) / determinant
        length = (second * turned).sum(1) / determinant
        hit = (u >= -1e-9) & (v >= -1e-9) & (u + v <= 1 + 1e-9) & (length > 0)
        found.append(length[hit].max() if hit.any() else np.nan)
    return np.array(found)
