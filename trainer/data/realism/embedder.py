"""Are rendered people different from one another? A small network learns half of them, and finds the others
again.

It is asked for each of the others: among one picture of each, which one shows the person of this other
picture, with another pose and expression? In the first trial all are in one light, so that nothing but the
person tells them apart; in the others each picture is in a light of its own. It sees the face and hair about
it, before grey; in a further trial the face alone.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from models.face_geometry import FACE_OVAL
from models.identity_embedder import NUMBERS, SIDE, IdentityEmbedder, margin_loss, retrieval
from trainer.data.realism.crops import Squares, cut, degraded, jittered
from trainer.data.realism.readings import Findings, Reading
from trainer.data.realism.renders import Order, Shots, draw_all, orders_of, turned
from trainer.data.synthetic.template import Label

PART = "embedder"
SIZE = 128  # of the renders, pixels
FRAMES = 16  # of each person to learn
BATCH, RATE = 48, 2e-3
AROUND = 1.25  # side of the crop / height of the face's outline
HARMED, ALONE = 0.2, 0.25  # shares of the crops that are learnt: made worse, of the face alone
GREY = 0.5
AROUND_HEAD = (Label.BACKGROUND, Label.CLOTHES)
FACE = (Label.SKIN, Label.EYES, Label.MOUTH, Label.LIPS)


class Album(NamedTuple):
    """Pictures of people."""

    pictures: Tensor  # N×3×S×S uint8
    head: Tensor  # N×S×S bool: neither background nor clothes
    face: Tensor  # N×S×S bool: skin, eyes, lips and mouth within the face's outline
    squares: Squares
    person: Tensor  # N int64, 0 to P − 1


def measure(people: int, steps: int, seed: int, workers: int) -> Findings:
    """Learns people // 2 of them in `steps` steps of BATCH."""
    half = people // 2
    learnt = album_of(orders_of(range(half), FRAMES, turned, SIZE, seed, stream=2), workers)
    trial = album_of(_trial(range(half, 2 * half), seed), workers)
    network = train(learnt, steps, seed)
    readings = []
    for name, scene, face, least in (
        ("in one light", 1, False, 90.0),
        ("in another light", 2, False, None),
        ("in another light, the face alone", 2, True, None),
    ):
        vectors = embed(network, trial, face).view(-1, 3, NUMBERS)
        share = 100 * retrieval(vectors[:, 0], vectors[:, scene])
        readings.append(Reading(PART, f"found again among {half}, {name}", share, "%", least=least))
    return Findings(
        readings,
        [
            f"embedder: learnt {half} people from {len(learnt.pictures)} renders, "
            f"{steps} steps of {BATCH}; "
            "another pose and expression in each picture, and another light in what is learnt; neither "
            f"background nor clothes are seen; chance is {100 / max(half, 1):.2g} %",
        ],
        network,
    )


def album_of(orders: list[Order], workers: int) -> Album:
    """The orders' pictures. People are numbered in their order."""
    found = list(draw_all(orders, workers))
    numbers = {int(person): number for number, person in enumerate(sorted({int(s.person[0]) for s in found}))}
    person = torch.tensor([numbers[int(one)] for shots in found for one in shots.person])
    return Album(
        torch.cat([torch.from_numpy(shots.picture).permute(0, 3, 1, 2) for shots in found]),
        torch.cat([torch.from_numpy(~np.isin(shots.labels, _numbers(AROUND_HEAD))) for shots in found]),
        torch.cat([_face(shots) for shots in found]),
        Squares(*(torch.cat(parts) for parts in zip(*(_squares(shots) for shots in found), strict=True))),
        person,
    )


def train(learnt: Album, steps: int, seed: int) -> IdentityEmbedder:
    """In evaluation mode."""
    torch.manual_seed(seed)
    random = torch.Generator().manual_seed(seed)
    network = IdentityEmbedder()
    people = torch.nn.Parameter(torch.randn(int(learnt.person.max()) + 1, NUMBERS) / NUMBERS**0.5)
    optimiser = torch.optim.AdamW([*network.parameters(), people], lr=RATE, weight_decay=5e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=max(steps, 2), pct_start=0.1)
    for _ in range(steps):
        rows = torch.randint(len(learnt.pictures), (BATCH,), generator=random)
        network.train()
        loss = margin_loss(network(_lesson(learnt, rows, random)), people, learnt.person[rows])
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
        schedule.step()
    return network.eval()


@torch.no_grad()
def embed(network: IdentityEmbedder, album: Album, face: bool) -> Tensor:
    """N×128. face: of the face alone."""
    found = []
    for rows in torch.split(torch.arange(len(album.pictures)), BATCH):
        alone = torch.full((len(rows),), face)
        squares = Squares(*(part[rows] for part in album.squares))
        found.append(network(cut(_shown(album, rows, alone), squares, SIDE)))
    return torch.cat(found)


def _trial(people: range, seed: int) -> list[Order]:
    """Three pictures of each, all in other poses: two in the light that is everybody's, one in another."""
    orders = orders_of(people, 3, turned, SIZE, seed, stream=3)
    shared = orders[0].scenes[0]
    return [order._replace(scenes=(shared, shared, order.scenes[2])) for order in orders]


def _lesson(learnt: Album, rows: Tensor, random: torch.Generator) -> Tensor:
    alone = torch.rand(len(rows), generator=random) < ALONE
    squares = jittered(Squares(*(part[rows] for part in learnt.squares)), random)
    crops = cut(_shown(learnt, rows, alone), squares, SIDE)
    mirror = torch.rand(len(rows), 1, 1, 1, generator=random) < 0.5
    crops = torch.where(mirror, crops.flip(3), crops)
    some = (torch.rand(len(rows), generator=random) < HARMED).nonzero().squeeze(1)
    return crops.index_copy(0, some, degraded(crops[some], random)) if len(some) else crops


def _shown(album: Album, rows: Tensor, alone: Tensor) -> Tensor:
    pictures = album.pictures[rows].float() / 255
    kept = torch.where(alone[:, None, None], album.face[rows], album.head[rows])
    return torch.where(kept[:, None], pictures, GREY)


def _squares(shots: Shots) -> Squares:
    """Upright, about the middle of the face's outline."""
    outline = torch.from_numpy(shots.points[:, list(FACE_OVAL), :2])
    low, high = outline.amin(1), outline.amax(1)
    return Squares((low + high) / 2, AROUND * (high - low)[:, 1], torch.zeros(len(outline)))


def _face(shots: Shots) -> Tensor:
    """Where the face is, without hair, ears and neck: N×S×S."""
    import cv2

    size = shots.labels.shape[1]
    outlines = np.zeros(shots.labels.shape, np.uint8)
    for outline, points in zip(outlines, shots.points, strict=True):
        corners = np.round(points[list(FACE_OVAL), :2] * size).astype(np.int32)
        cv2.fillPoly(outline, [corners], (1,))
    return torch.from_numpy(np.isin(shots.labels, _numbers(FACE)) & (outlines > 0))


def _numbers(labels: tuple[Label, ...]) -> list[int]:
    return [int(label) for label in labels]
