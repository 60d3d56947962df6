"""DAE-GAN's two experiments on its codes (its paper's Figures 7 and 8), on rendered people.

Pictures are looked for by the cosine of their pose codes p̂, among those of other people: the five nearest
should show the same pose and expression. And the embedded face f̂ should be the same for all of a person's
pictures in one scene.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from models.contract import map_code
from trainer.evaluation.framing import Network, seen, seen_as_source
from trainer.evaluation.probing import Gallery, motions_of
from trainer.metrics.embedding import Invariance, invariance, retrieve

NEAREST = 5
NETWORK = "dae_gan"


class Retrieved(NamedTuple):
    """Mean distances to what was found, beside those to all that could have been found."""

    pose_deg: float  # mean absolute difference of yaw, pitch and roll, of the five nearest …
    pose_chance_deg: float  # … and of all
    expression: float  # mean absolute difference of the expressions of `probing.EXPRESSIONS`, [0, 1]
    expression_chance: float
    queries: int
    spread: Invariance  # of f̂


@torch.no_grad()
def retrieval(network: Network, shown: Gallery) -> Retrieved:
    """Of a `dae_gan` in evaluation mode."""
    assert network.spec.name == NETWORK
    training = network.training
    network.eval()
    try:
        pose = torch.cat([network.encode_structure(seen(one, network.spec)).pose for one in shown.samples])
        faces, groups = [], []
        for number, one in enumerate(shown.samples):
            pictures = seen_as_source(one, network.spec)
            for row in range(len(pictures.image)):
                picture = map_code(lambda tensor, row=row: tensor[row : row + 1], pictures)
                faces.append(network.encode_appearance([picture]).face)
                groups.append(number)
    finally:
        network.train(training)
    frames = torch.tensor([len(one.picture) for one in shown.samples])
    people = torch.repeat_interleave(shown.people, frames)
    motion = torch.cat([motions_of(one) for one in shown.samples])
    found = nearest(pose.cpu(), motion, people)
    return Retrieved(*found, len(people), invariance(torch.cat(faces).cpu(), torch.tensor(groups)))


def nearest(pose: Tensor, motion: Tensor, people: Tensor) -> tuple[float, float, float, float]:
    """Mean differences of pose and of expression: of the five others' nearest, of all others', of each."""
    off = (motion[:, None] - motion[None]).abs()
    apart = torch.stack((off[..., :3].mean(-1), off[..., 3:].mean(-1)), -1)  # n×n×2
    others = people[:, None] != people[None]
    order = retrieve(pose, pose).order
    allowed = torch.gather(others, 1, order)
    rank = allowed.cumsum(1)
    best = torch.zeros_like(others).scatter(1, order, allowed & (rank <= NEAREST))
    near, chance = apart[best].mean(0), apart[others].mean(0)
    return float(near[0]), float(chance[0]), float(near[1]), float(chance[1])
