"""The one mesh that everybody shares: all parts joined, with what each of their points follows.

Control points are what shapes and expressions move; the vertices that are drawn come from them, finer where
skin is seen from near. Eyeballs are vertices of their own: they turn.
"""

from collections.abc import Sequence
from enum import IntEnum
from functools import cache
from typing import NamedTuple

import numpy as np

from trainer.data.synthetic import expression, eyes, head, mouth
from trainer.data.synthetic.anatomy import AT, EXPRESSIONS
from trainer.data.synthetic.beard import beard_parts
from trainer.data.synthetic.clothes import clothes_parts
from trainer.data.synthetic.face import LIP_RINGS, SKIN_POINTS, mean_landmarks
from trainer.data.synthetic.glasses import glasses_parts
from trainer.data.synthetic.hair_shell import hair_parts
from trainer.data.synthetic.identity import shape_modes
from trainer.data.synthetic.mesh import (
    Array,
    Indices,
    Mesh,
    Refinement,
    fans,
    kept,
    linear_middles,
    subdivide,
)


class Label(IntEnum):
    """What a triangle belongs to, as the masks have it."""

    BACKGROUND = 0
    SKIN = 1
    HAIR = 2
    EYES = 3
    MOUTH = 4
    LIPS = 5
    CLOTHES = 6
    GLASSES = 7


class Part(NamedTuple):
    """A piece of the template. follows: V, the landmark whose motion each point copies, −1 for none; None:
    none."""

    name: str
    mesh: Mesh
    label: Label
    follows: Indices | None = None
    droops: Array | None = None  # V×3, cm, what its points move besides when the upper lid closes
    jaw: bool = False  # hangs on the lower jaw's bone
    smooth: bool = False  # is refined once
    two_sided: bool = False
    cutout: bool = False
    still: bool = False  # stays with the shoulders when the head turns


class Template(NamedTuple):
    """C control points, V vertices (the eyeballs' last), T triangles, S shape modes."""

    points: Array  # C×3, cm
    modes: Array  # S×C×3, cm a standard deviation
    expressions: Array  # 44×C×3, cm at full strength; but for the lids
    follows: Indices  # C, the landmark whose lids' motion a point copies, −1 for none
    droops: Array  # C×3, what is added to that where the upper lid closes
    refinement: Refinement  # of V less the eyeballs'
    triangles: Indices  # T×3
    uv: Array  # V×2
    labels: Indices  # T
    two_sided: Indices  # T bool
    cutout: Indices  # T bool
    turning: Array  # V: 1 turns with the head, 0 stays with the shoulders
    lids: tuple[Indices, Indices]  # the vertices that slide over each eyeball, the picture's left first
    fans: Indices
    control_ranges: dict[str, slice]
    triangle_ranges: dict[str, slice]
    balls: int  # the first eyeball's first vertex
    worn: slice  # the triangles of WORN
    casters: Indices  # K×3: what throws shadows, as coarse as shadows are


# What people wear, after all that they are made of; in this order people.py puts their shapes together.
WORN = {"hair": hair_parts, "beard": beard_parts, "glasses": glasses_parts, "clothes": clothes_parts}

CASTERS = ("ear_left", "ear_right", "neck", "chest")  # throw shadows, beside the skin


def parts() -> tuple[Part, ...]:
    """All parts but the eyeballs; the skin is first, so that landmarks have their own numbers."""
    uv = tuple((float(u), float(v)) for u, v in head.skin().uv[:SKIN_POINTS])
    made = [Part("skin", head.skin(), Label.SKIN, smooth=True)]
    for side, right in (("left", False), ("right", True)):
        socket, lashes = eyes.socket(right, uv), eyes.lashes(right)
        made.append(Part(f"socket_{side}", *_of(socket, Label.SKIN), smooth=True, two_sided=True))
        made.append(Part(f"lashes_{side}", *_of(lashes, Label.HAIR), two_sided=True, cutout=True))
        made.append(Part(f"ear_{side}", head.ear(right), Label.SKIN))
    made.append(Part("bag", *_of(mouth.bag(), Label.MOUTH), smooth=True, two_sided=True))
    made.append(Part("upper_teeth", mouth.teeth(False), Label.MOUTH, two_sided=True))
    made.append(Part("lower_teeth", mouth.teeth(True), Label.MOUTH, jaw=True, two_sided=True))
    made.append(Part("tongue", mouth.tongue(), Label.MOUTH, jaw=True, two_sided=True))
    made.append(Part("neck", head.neck(), Label.SKIN))
    made.append(Part("chest", head.chest(), Label.SKIN, still=True))
    for name, pieces in WORN.items():
        for at, piece in enumerate(pieces()):
            made.append(
                Part(
                    f"{name}_{at}",
                    piece.mesh,
                    Label(piece.label),
                    piece.follows,
                    two_sided=piece.double_sided,
                    cutout=piece.cutout,
                    still=name == "clothes",
                )
            )
    return tuple(made)


def _of(part: eyes.Following, label: Label) -> tuple[Mesh, Label, Indices, Array | None]:
    return part.mesh, label, part.follows, part.droops


@cache
def template(fine: bool = True) -> Template:
    """fine: skin is refined, for pictures in which its triangles would be seen. Control points are the same
    either way, and so are landmarks."""
    return join(parts() if fine else [part._replace(smooth=False) for part in parts()])


def join(all_parts: Sequence[Part]) -> Template:
    """One template of parts, of which the first is the skin."""
    points = np.concatenate([part.mesh.points for part in all_parts])
    skin = expression.constant_shapes(all_parts[0].mesh.points, all_parts[0].mesh.triangles)
    moves, follows, droops = [], [], []
    for part in all_parts:
        count = len(part.mesh.points)
        moved = np.zeros((len(EXPRESSIONS), count, 3))
        own = np.full(count, -1, np.int64)
        if part.name == "skin":
            moved = skin
            own[:SKIN_POINTS] = np.arange(SKIN_POINTS)
        elif part.follows is not None:
            own = part.follows
            moved[:, own >= 0] = skin[:, own[own >= 0]]
        elif part.jaw:
            for name in ("jawOpen", "jawForward", "jawLeft", "jawRight"):
                moved[AT[name]] = expression.jaw_moves(part.mesh.points, name)
        if part.name == "tongue":
            moved[AT["tongueOut"]] = _tongue_out(part.mesh.points)
        moves.append(moved)
        follows.append(own)
        droops.append(np.zeros((count, 3)) if part.droops is None else part.droops)
    return _joined(
        all_parts, points, np.concatenate(moves, 1), np.concatenate(follows), np.concatenate(droops)
    )


def _tongue_out(points: Array) -> Array:
    """The tip goes 3.5 cm forward and a little down, the root stays."""
    share = np.clip((mean_landmarks()[13, 2] + 7.0 - points[:, 2]) / 5.35, 0, 1)[:, None]
    return np.asarray(share * (0, 0.1, -3.4) + share**3 * (0, 0.5, 0))


def _joined(
    all_parts: Sequence[Part], points: Array, moves: Array, follows: Indices, droops: Array
) -> Template:
    controls = vertices = first = 0
    parents, weights, triangles, uv, labels, sides, holes, turning = ([] for _ in range(8))
    control_ranges, triangle_ranges = {}, {}
    for part in all_parts:
        mesh, count = part.mesh, len(part.mesh.points)
        corners, refinement = mesh.triangles, kept(count)
        places = mesh.uv
        marks = np.full(len(corners), int(part.label))
        if part.name == "skin":
            marks[np.isin(corners, np.array(LIP_RINGS)).all(1)] = int(Label.LIPS)
        if part.smooth:
            places = linear_middles(mesh.triangles, count).of(mesh.uv)
            corners, refinement = subdivide(mesh.triangles, count)
            marks = np.repeat(marks, 4)
        control_ranges[part.name] = slice(controls, controls + count)
        triangle_ranges[part.name] = slice(first, first + len(corners))
        parents.append(refinement.parents + controls)
        weights.append(refinement.weights)
        triangles.append(corners + vertices)
        uv.append(places)
        labels.append(marks)
        sides.append(np.full(len(corners), part.two_sided))
        holes.append(np.full(len(corners), part.cutout))
        turning.append(_turning(part, refinement))
        controls, vertices, first = controls + count, vertices + len(places), first + len(corners)
    balls = vertices
    ball = eyes.eyeball()
    for side in ("left", "right"):
        triangle_ranges[f"ball_{side}"] = slice(first, first + len(ball.triangles))
        triangles.append(ball.triangles + vertices)
        uv.append(ball.uv)
        labels.append(np.full(len(ball.triangles), int(Label.EYES)))
        sides.append(np.zeros(len(ball.triangles), bool))
        holes.append(np.zeros(len(ball.triangles), bool))
        turning.append(np.ones(len(ball.points)))
        vertices, first = vertices + len(ball.points), first + len(ball.triangles)
    widest = max(table.shape[1] for table in parents)
    refinement = Refinement(
        np.concatenate([np.pad(table, ((0, 0), (0, widest - table.shape[1]))) for table in parents]),
        np.concatenate([np.pad(table, ((0, 0), (0, widest - table.shape[1]))) for table in weights]),
    )
    corners = np.concatenate(triangles)
    return Template(
        points,
        shape_modes(points),
        moves,
        follows,
        droops,
        refinement,
        corners,
        np.concatenate(uv),
        np.concatenate(labels),
        np.concatenate(sides),
        np.concatenate(holes),
        np.concatenate(turning),
        _lids(all_parts, refinement, points),
        fans(corners, vertices),
        control_ranges,
        triangle_ranges,
        balls,
        slice(triangle_ranges["chest"].stop, triangle_ranges["ball_left"].start),
        # Refined vertices begin with the coarse ones, and the skin's are the first of all.
        np.concatenate([all_parts[0].mesh.triangles, *(corners[triangle_ranges[name]] for name in CASTERS)]),
    )


def _turning(part: Part, refinement: Refinement) -> Array:
    count = len(refinement.parents)
    if part.still:
        return np.zeros(count)
    if part.name != "neck":
        return np.ones(count)
    height = (part.mesh.points[:, 1] - head.NECK_TOP - 2.0) / (head.NECK_BASE - head.NECK_TOP - 4.0)
    return np.asarray(1 - np.clip(height, 0, 1) ** 1.3)


def _lids(all_parts: Sequence[Part], refinement: Refinement, points: Array) -> tuple[Indices, Indices]:
    """Vertices near an eye that slide over its ball: the skin's, and those of what is fixed to the lids'
    margins and would be hidden beneath them otherwise, the sockets' outer edges and the lashes."""
    vertices = refinement.of(points)
    slides = np.concatenate([_sliding(part) for part in all_parts])
    found = []
    for index in (468, 473):
        middle = mean_landmarks()[index] + (0, 0, eyes.RADIUS)
        away = np.linalg.norm(vertices - middle, axis=1)
        found.append(np.flatnonzero((away < 2.4) & slides))
    return found[0], found[1]


def _sliding(part: Part) -> Indices:
    """Which of a part's vertices may lie on an eyeball: V bool."""
    count = len(part.mesh.points)
    bound = np.full(count, part.name == "skin" or part.name.startswith("lashes"))
    if part.name.startswith("socket"):
        bound[: count // eyes.SOCKET_RINGS] = True
    if not part.smooth:
        return bound
    share: Array = linear_middles(part.mesh.triangles, count).of(bound[:, None].astype(np.float64))
    return np.asarray(share[:, 0] == 1)
