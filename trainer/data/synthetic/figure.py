"""People as geometry: a head of given shape, moved.

figure = make_figure(shape)                    # once an identity
posed = pose(figure, who, motion)              # every frame, batched over people

B people, N frames, C control points, V vertices
"""

import math
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from trainer.data.synthetic import eyes
from trainer.data.synthetic.expression import lid_closing, lid_shapes
from trainer.data.synthetic.eyes import LID, RADIUS, ball_centres, iris_points
from trainer.data.synthetic.face import LIP_RINGS, SKIN_POINTS, mean_landmarks
from trainer.data.synthetic.identity import Shape
from trainer.data.synthetic.mesh import Indices, normals, summed
from trainer.data.synthetic.motion import Motion, rotation_matrix
from trainer.data.synthetic.template import Template, template

FACE_HEIGHT = float(mean_landmarks()[152, 1] - mean_landmarks()[10, 1])  # cm
FACE_DEPTH = -8.0  # z of the plane whose distance the scale sets
NECK = (0.0, 2.5, -1.0)  # what the head turns about
FOLLOWS = 0.2  # of a turn of the head, the shoulders make


class Tables(NamedTuple):
    """The template's arrays as tensors on a device."""

    points: Tensor
    modes: Tensor  # S×C·3
    expressions: Tensor  # 44×C·3
    followers: Tensor  # F: control points that copy a lid's motion
    followed: Tensor  # F: the landmark each of them copies
    droops: Tensor  # 2×C×3: what the upper lids' closing adds, the picture's left eye's first
    parents: Tensor
    weights: Tensor
    triangles: Tensor
    pieces: Tensor  # T, as `spots` wants them
    uv: Tensor
    labels: Tensor
    two_sided: Tensor
    cutout: Tensor
    turning: Tensor
    lids: tuple[Tensor, Tensor]
    fans: Tensor
    ball: Tensor  # of an eyeball, about its centre
    worn: slice  # the triangles of what people wear
    casters: Tensor  # K×3

    def all_shown(self, worn: Tensor) -> Tensor:
        """Which triangles people have (B×T bool), from which they have of what is worn."""
        shown = worn.new_ones(len(worn), len(self.triangles))
        shown[:, self.worn] = worn
        return shown

    def all_backs(self, hair: Tensor) -> Tensor:
        """Triangles whose backs may be seen (B×T bool), from those of the hair, the first that is worn."""
        backs = self.two_sided.repeat(len(hair), 1)
        backs[:, self.worn.start : self.worn.start + hair.shape[1]] = hair
        return backs


class Figure(NamedTuple):
    """B people at rest."""

    neutral: Tensor  # B×C×3, cm
    lids: (
        Tensor  # B×2×2×C×3: how each eye's upper and lower lid move when they close, the picture's left first
    )
    balls: Tensor  # B×2×3: the eyeballs' centres
    fine: bool  # drawn with refined skin


class Posed(NamedTuple):
    """N frames, camera space: cm, the camera at the origin looking along z."""

    vertices: Tensor  # N×V×3
    normals: Tensor  # N×V×3
    landmarks: Tensor  # N×478×3
    focal: Tensor  # N, in picture widths
    head: Tensor  # N×3×4: head space to camera space


@cache
def tables(device: torch.device, fine: bool = True) -> Tables:
    """The shared template on a device."""
    made: Template = template(fine)
    followers = (made.follows >= 0).nonzero()[0]

    def numbers(array: object) -> Tensor:
        return torch.as_tensor(np.asarray(array), dtype=torch.float32, device=device)

    def whole(array: object) -> Tensor:
        return torch.as_tensor(array, dtype=torch.int64, device=device)

    return Tables(
        numbers(made.points),
        numbers(made.modes).flatten(1),
        numbers(made.expressions).flatten(1),
        whole(followers),
        whole(made.follows[followers]),
        numbers([made.droops * (made.points[:, :1] < 0), made.droops * (made.points[:, :1] > 0)]),
        whole(made.refinement.parents),
        numbers(made.refinement.weights),
        whole(made.triangles),
        whole(_pieces(made)),
        numbers(made.uv),
        whole(made.labels),
        torch.as_tensor(made.two_sided, device=device),
        torch.as_tensor(made.cutout, device=device),
        numbers(made.turning),
        (whole(made.lids[0]), whole(made.lids[1])),
        whole(made.fans),
        numbers(eyes.eyeball().points),
        made.worn,
        whole(made.casters),
    )


def _pieces(made: Template) -> Indices:
    """The number of each triangle's part; −1 for the eyes, whose highlights are smaller than a pixel."""
    pieces = np.zeros(len(made.triangles), np.int64)
    for number, (name, part) in enumerate(made.triangle_ranges.items()):
        pieces[part] = -1 if name.startswith("ball_") else number
    return pieces


def make_figure(shape: Shape, worn: Tensor | None = None, fine: bool = True) -> Figure:
    """People of those shapes. worn: B×C×3, what hair and clothes add to the template, cm. fine: as for
    `template`."""
    fixed = tables(shape.coefficients.device, fine)
    count = len(fixed.points)
    moved = (shape.coefficients @ fixed.modes).view(-1, count, 3)
    neutral = fixed.points + moved
    if worn is not None:
        neutral = neutral + worn
    blink = lid_shapes(neutral[:, :SKIN_POINTS])
    lids = neutral.new_zeros(len(neutral), 2, 2, count, 3)
    lids[:, :, :, fixed.followers] = blink[:, :, :, fixed.followed]
    lids[:, :, 0] += fixed.droops
    return Figure(neutral, lids, ball_centres(neutral), fine)


def pose(figure: Figure, who: Tensor, motion: Motion, shaded: bool = True) -> Posed:
    """The people of `who` (N, indices of the figure's) as the motion (N frames) has them. shaded: normals are
    wanted; they are empty otherwise."""
    fixed = tables(figure.neutral.device, figure.fine)
    frames, count = len(who), len(fixed.points)
    controls = figure.neutral[who] + (motion.expression @ fixed.expressions).view(frames, count, 3)
    controls = controls + torch.einsum("nel,nelcx->ncx", lid_closing(motion.expression), figure.lids[who])
    controls = _lips_apart(controls)
    balls = figure.balls[who]
    look = torch.stack((motion.gaze[:, 0], motion.gaze[:, 1], torch.zeros_like(motion.gaze[:, 0])), 1)
    turn = rotation_matrix(look)
    vertices = summed(controls, fixed.parents, fixed.weights)
    vertices = _over_balls(vertices, balls, fixed)
    turned = fixed.ball @ turn.transpose(1, 2)
    vertices = torch.cat((vertices, balls[:, :1] + turned, balls[:, 1:] + turned), 1)
    landmarks = torch.cat((vertices[:, :SKIN_POINTS], iris_points(balls, turn)), 1)
    focal = 0.5 / (motion.fov.deg2rad() / 2).tan()
    distance = focal * FACE_HEIGHT / (0.5 * motion.scale)
    place = torch.cat((motion.shift * (distance / focal)[:, None], distance[:, None] - FACE_DEPTH), 1)
    rotation = rotation_matrix(motion.rotation)
    shoulders = rotation_matrix(motion.rotation * motion.rotation.new_tensor((FOLLOWS, 0.0, 0.0)))
    centre = vertices.new_tensor(NECK)
    about = vertices - centre
    share = fixed.turning[:, None]
    seen = share * (about @ rotation.transpose(1, 2)) + (1 - share) * (about @ shoulders.transpose(1, 2))
    shift = centre + place[:, None]
    seen = seen + shift
    head = torch.cat((rotation, (place + centre - (rotation @ centre)).unsqueeze(2)), 2)
    return Posed(
        seen,
        normals(seen, fixed.triangles, fixed.fans) if shaded else seen[:, :0],
        (landmarks - centre) @ rotation.transpose(1, 2) + shift,
        focal,
        head,
    )


def project(points: Tensor, focal: Tensor) -> Tensor:
    """Camera space to the picture: N×K×3 cm → N×K×2 in picture widths from its top left corner."""
    return points[..., :2] / points[..., 2:] * focal.view(-1, 1, 1) + 0.5


def rest(count: int = 1, fov: float = 20.0, device: torch.device | str = "cpu") -> Motion:
    """Neutral faces looking into the camera."""

    def still(*shape: int) -> Tensor:
        return torch.zeros(count, *shape, device=device)

    scale = still() + 1
    return Motion(still(44), still(2), still(3), still(2), scale, scale * fov)


def _over_balls(vertices: Tensor, balls: Tensor, fixed: Tables) -> Tensor:
    """Lids lie on the eyeballs, never in them: pushed out along the ball's radius."""
    for eye, index in enumerate(fixed.lids):
        away = vertices[:, index] - balls[:, eye : eye + 1]
        far = away.square().sum(2, keepdim=True).sqrt()
        front = (away[..., 2:] < 0.4 * RADIUS).to(away)
        pushed = away * (1 + front * ((RADIUS + LID) / far.clamp_min(1e-3) - 1).clamp_min(0))
        vertices = vertices.index_copy(1, index, balls[:, eye : eye + 1] + pushed)
    return vertices


def _lips_apart(controls: Tensor) -> Tensor:
    """Where the lips would pass through each other they meet half-way."""
    shares = (0.3, 0.5, 0.8, 1.0)  # from the outer line to the inner
    inner = LIP_RINGS[-1]
    upper, lower = inner[1:10], inner[:10:-1]
    crossed = (controls[:, list(upper), 1] - controls[:, list(lower), 1]).clamp_min(0) / 2  # N×9
    controls = controls.clone()
    for ring, share in zip(LIP_RINGS, shares, strict=True):
        controls[:, list(ring[1:10]), 1] -= share * crossed
        controls[:, list(ring[:10:-1]), 1] += share * crossed
    return controls


def camera_distance(fov: float, scale: float = 1.0) -> float:
    """From the camera to the face's plane, cm, where the mean face is `scale` / 2 of the picture's height."""
    return 0.5 / math.tan(math.radians(fov) / 2) * FACE_HEIGHT / (0.5 * scale)
