"""What is in a network's codes: linear probes on rendered people that training never saw.

Motion should be read off structure codes and not off appearance codes, and people the other way round. Every
person is seen in two scenes (light, background, camera) in the poses and expressions of `stills`. Motion is
learnt from half of the people and read off the others. People are looked for among all test pictures but
those of the same scene: the nearest must be found in another light.

An appearance code is what `encode_appearance` gives but for its field `structure`, and for imf's `keys`,
which are made of nothing but the source's token. Its maps are averaged to 4×4, and what then is longer than
512 numbers goes through a random projection with a fixed seed. So does a long structure code.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from models.contract import LANDMARKS, Observation, map_code
from trainer.data.rendered import clip_name, identity_name, renderer, sample_of
from trainer.data.samples import Sample
from trainer.data.synthetic.anatomy import AT
from trainer.data.synthetic.motion import STILLS
from trainer.evaluation.framing import Network, seen, seen_as_source
from trainer.evaluation.pairs import identities_of
from trainer.metrics.probes import Probe, Retrieval, linear_probe_r2, retrieval_at_1

SCENES = 2
POOLED = 4  # side of averaged maps
LONGEST = 512  # numbers of a code that is probed
NOT_APPEARANCE = {"imf": ("keys",)}  # besides `structure`
# A pucker isn't among them: not even of true landmarks is it a linear function.
EXPRESSIONS = {
    "jaw opening": ("jawOpen",),
    "eye closing": ("eyeBlinkLeft", "eyeBlinkRight"),
    "smile": ("mouthSmileLeft", "mouthSmileRight"),
    "brow raising": ("browInnerUp",),
}
MOTIONS = ("yaw", "pitch", "roll", *EXPRESSIONS)


class Gallery(NamedTuple):
    """Rendered people to probe with. Each sample is K frames of one person in one scene."""

    samples: tuple[Sample, ...]
    people: Tensor  # number of samples, int64


class Codes(NamedTuple):
    """Of all n pictures of a gallery."""

    structure: Tensor  # n×D
    appearance: Tensor  # n×D′
    motion: Tensor  # n×7: `MOTIONS`, degrees and [0, 1]
    people: Tensor  # n int64
    scenes: Tensor  # n int64


class Probed(NamedTuple):
    """What was read off the codes."""

    structure: Probe  # R² of `MOTIONS`
    appearance: Probe
    who_structure: Retrieval
    who_appearance: Retrieval


def gallery(
    seed: int = 0,
    people: int = 32,
    frames: int = 20,
    size: int = 96,
    device: torch.device | str = "cpu",
    style: str | None = STILLS,
    held_out: float = 0.1,
) -> Gallery:
    """frames: of each person in each of two scenes, in motions of that style (`draw_motion`). Raises
    ValueError for fewer than four people, and for an unknown style."""
    if people < 4 or frames < 2:
        raise ValueError(f"{people} people of {frames} frames to probe with: at least 4 of 2 are needed")
    samples, who = [], []
    for person in identities_of(seed, people, "test", held_out):
        for scene in range(SCENES):
            # Scenes of their own, which pairs don't use.
            clip = 2_000 + scene
            found = renderer()(seed, person, clip, frames, size, torch.device(device), style, ())
            names = clip_name(seed, person, clip), identity_name(seed, person)
            samples.append(sample_of(found, *names, (), ("rotation", "expression")))
            who.append(person)
    return Gallery(tuple(samples), torch.tensor(who))


@torch.no_grad()
def codes_of(network: Network, shown: Gallery) -> Codes:
    """By the network, in evaluation mode, each picture on its own. Raises ValueError where it needs landmarks
    that there are not."""
    training = network.training
    network.eval()
    try:
        structure = [_numbers(network.encode_structure(seen(one, network.spec)), ()) for one in shown.samples]
        left_out = ("structure", *NOT_APPEARANCE.get(network.spec.name, ()))
        appearance = [
            _numbers(network.encode_appearance([source]), left_out)
            for one in shown.samples
            for source in _single(seen_as_source(one, network.spec))
        ]
    finally:
        network.train(training)
    frames = torch.tensor([len(one.picture) for one in shown.samples])
    return Codes(
        structure=_shortened(torch.cat(structure)),
        appearance=_shortened(torch.cat(appearance)),
        motion=torch.cat([motions_of(one) for one in shown.samples]),
        people=torch.repeat_interleave(shown.people, frames),
        scenes=torch.repeat_interleave(torch.arange(len(frames)), frames),
    )


def probe(codes: Codes) -> Probed:
    """The first half of the people is learnt from, the others are tested on."""
    everybody = torch.unique(codes.people)
    test = torch.isin(codes.people, everybody[len(everybody) // 2 :])
    motion = [
        linear_probe_r2(code[~test], codes.motion[~test], code[test], codes.motion[test], codes.people[~test])
        for code in (codes.structure, codes.appearance)
    ]
    who = [
        retrieval_at_1(code[test], codes.people[test], codes.scenes[test])
        for code in (codes.structure, codes.appearance)
    ]
    return Probed(motion[0], motion[1], who[0], who[1])


def motions_of(sample: Sample) -> Tensor:
    """K×7: `MOTIONS` of a rendered sample, on the CPU."""
    expression = sample.parameters["expression"].cpu()
    columns = [expression[:, [AT[name] for name in names]].mean(1) for names in EXPRESSIONS.values()]
    return torch.cat((sample.parameters["rotation"].cpu(), torch.stack(columns, 1)), 1).double()


def _single(pictures: Observation) -> Iterator[Observation]:
    for row in range(len(pictures.image)):
        yield map_code(lambda tensor, row=row: tensor[row : row + 1], pictures)


def _numbers(code: Any, left_out: Sequence[str]) -> Tensor:
    """B×D float32 on the CPU: all numbers of a code, maps averaged."""
    parts = []
    for name, part in code._asdict().items():
        if name in left_out or part is None:
            continue
        if isinstance(part, tuple):
            parts.append(_numbers(part, ()))
        elif part.is_floating_point():
            parts.append(_pooled(part.float()).cpu())
    return torch.cat(parts, 1)


def _pooled(part: Tensor) -> Tensor:
    """B×D: maps and volumes (B×…×H×W) averaged to 4×4; vectors and points as they are."""
    if part.ndim < 4 or part.shape[1] == LANDMARKS or min(part.shape[-2:]) < POOLED:
        return part.flatten(1)
    maps: Tensor = F.adaptive_avg_pool2d(part.flatten(1, -3), POOLED)
    return maps.flatten(1)


def _shortened(codes: Tensor) -> Tensor:
    """n×at most 512."""
    if codes.shape[1] <= LONGEST:
        return codes
    dice = torch.Generator().manual_seed(0)
    projection = torch.randn(codes.shape[1], LONGEST, generator=dice) / LONGEST**0.5
    return torch.mm(codes, projection)
