"""Does `latent` do what it is for: one person's looks, and what another one does? On rendered people whom
training never saw, A and B, whose codes the encoder says:

    result    G(f_D(w_A^(a), w_B^(s)))
    offset    G(w_A + w_B − w_B,neutral): the Offset Trick, a baseline (supplement, section 6)
    coarse    G(the first rows of w_B, the others of w_A), the other baseline
    copy      G(w_A): all of the looks, and nothing of the driver
    driver    G(w_B): the other way round. No way to draw can be expected to follow the driver better

A judge, who is a face model of other weights than the loss', looks at them. The neutral picture is rendered:
B in the same light and before the same background, face and head at rest. That is what the trick asks for;
the most neutral of a few pictures, or a mean of their codes, would only be near to it.

P people, K pictures of each, N = P·K pairs, L rows of a code
"""

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from models.coefficients import Coefficients, FaceModel
from models.contract import Spec
from models.latent import Latent
from trainer.data.rendered import clip_name, identity_name, sample_of
from trainer.data.synthetic.motion import STILLS, Motion, draw_motion
from trainer.data.synthetic.people import CLIPS
from trainer.evaluation.framing import seen_as_source
from trainer.evaluation.pairs import identities_of
from trainer.metrics import pictures
from trainer.metrics.summary import Summary, summary

NETWORK = "latent"
PICTURES = 10  # of each person
SCENE = 2_100  # of each person, which nothing else shows
SAMPLED = 200  # codes of the mapping
COARSE = 4  # rows: all that is drawn at 4² and 8²
AT_ONCE = 64  # pictures
SHOWN = 8  # pairs, on a page
STILL = 1e-4  # deviation of a standardised number that counts as none
BASELINES = ("offset", "coarse")
PARTS: Mapping[str, Callable[[str], bool]] = {
    "pose": lambda name: name in ("yaw", "pitch", "roll"),
    "mouth": lambda name: name.startswith(("jaw", "mouth", "tongue")),
    "blink": lambda name: name.startswith("eyeBlink"),
}  # of a structure: by its numbers' names


class Company(NamedTuple):
    """Rendered people, each in one scene, as the network sees a source."""

    pictures: Tensor  # P×K×3×S×S in [0, 1]
    rest: Tensor  # P×3×S×S: face and head at rest
    names: tuple[str, ...]


class Reconstruction(NamedTuple):
    """What is left of codes that were split and joined."""

    code: Summary  # ‖f_D(f_E(w)) − w‖ / ‖w − the mean w‖
    psnr: Summary  # dB, of G(f_D(f_E(w))) against G(w)


class Inversion(NamedTuple):
    """How near G(w) is to the picture that w is the code of: what the encoder loses, nobody gets back."""

    psnr: Summary  # dB
    l1: Summary


class Followed(NamedTuple):
    """What the judge says of one way to draw."""

    structure: float | None  # mean of `numbers`, of those that there are
    parts: dict[str, float | None]  # the same of `PARTS`
    numbers: dict[str, float | None]  # correlation with the driver's picture, by the structure's names
    appearance: Summary  # share of the pairs in which the looks are nearer to the source's than the driver's


class Transfer(NamedTuple):
    """All of it."""

    sampled: Reconstruction  # of codes of the mapping
    encoded: Reconstruction  # of codes of pictures
    inversion: Inversion
    followed: dict[str, Followed]  # by the way to draw; none without a judge
    rows: int  # of `coarse` that are the driver's
    shown: dict[str, Tensor]  # some of the pairs, SHOWN×3×S×S: source, driver, and what was drawn


def company(
    spec: Spec,
    seed: int = 0,
    people: int = 20,
    size: int = 96,
    device: torch.device | str = "cpu",
    style: str | None = STILLS,
    held_out: float = 0.1,
) -> Company:
    """people: of those that training with this seed holds out, PICTURES of each. size: of the rendered
    pictures, pixels. style: of the motions (`draw_motion`). Raises ValueError for fewer than two people, and
    for an unknown style."""
    from trainer.data.synthetic.clip import render_motion  # making its template takes seconds

    if people < 2:
        raise ValueError(f"{people} people to swap expressions with: at least 2 are needed")
    shown, names = [], []
    for person in identities_of(seed, people, "test", held_out):
        moved = draw_motion(seed, [person * CLIPS + SCENE], PICTURES, 5, style)
        motion = Motion(*(torch.cat(both) for both in zip(moved, _rest(moved), strict=True)))
        with torch.no_grad():
            found = render_motion(seed, person, SCENE, motion, size, torch.device(device), moving=False)
        sample = sample_of(found, clip_name(seed, person, SCENE), identity_name(seed, person), (), ())
        shown.append(seen_as_source(sample, spec).image)
        names.append(str(sample.identity))
    every = torch.stack(shown)
    return Company(every[:, :-1], every[:, -1], tuple(names))


@torch.no_grad()
def transfer(network: Latent, people: Company, judge: FaceModel | None = None, seed: int = 0) -> Transfer:
    """network and judge: in evaluation mode, on the device that the pictures are on. seed: of the codes that
    are sampled. Every picture is a source once and a driver once."""
    count, each = people.pictures.shape[:2]
    sources = people.pictures.flatten(0, 1)
    drivers = sources[partners(count, each)]
    rests = people.rest.repeat_interleave(each, 0)
    who = [name for name in people.names for _ in range(each)]

    w = _by_parts(network.invert, sources)
    w_driver = w[partners(count, each)]
    w_rest = _by_parts(network.invert, rests)[partners(count, each)]
    ways = {
        "result": network.join(network.split(w)[0], network.split(w_driver)[1]),
        "offset": w + w_driver - w_rest,
        "coarse": torch.cat((w_driver[:, :COARSE], w[:, COARSE:]), 1),
        "copy": w,
        "driver": w_driver,
    }
    drawn = {name: draw(network, code) for name, code in ways.items()}
    followed = {}
    if judge is not None:
        followed = {name: follow(judge, shown, sources, drivers, who) for name, shown in drawn.items()}
    dice = torch.Generator().manual_seed(seed)
    z = torch.randn(SAMPLED, network.layout.style, generator=dice).to(w.device)
    some = {"source": sources, "driving": drivers} | drawn
    step = max(len(sources) // SHOWN, 1)
    return Transfer(
        sampled=_reconstruction(network, network.generator.map(z)[:, None].expand(-1, w.shape[1], -1)),
        encoded=_reconstruction(network, w, who),
        inversion=Inversion(
            summary(pictures.psnr(drawn["copy"], sources).tolist(), who),
            summary(pictures.l1(drawn["copy"], sources).tolist(), who),
        ),
        followed=followed,
        rows=COARSE,
        shown={name: rows[::step][:SHOWN].cpu() for name, rows in some.items()},
    )


def partners(people: int, each: int) -> Tensor:
    """P·K: of every picture the number of the one that drives it. Each drives once, and nobody himself."""
    number = torch.arange(people * each)
    person, frame = number // each, number % each
    return (person + 1 + frame % (people - 1)) % people * each + frame


def draw(network: Latent, w: Tensor) -> Tensor:
    """N×3×S×S in [0, 1]: G(w)."""
    return _by_parts(lambda part: ((network.generator(part).float() + 1) / 2).clamp(0, 1), w)


@torch.no_grad()
def follow(judge: FaceModel, drawn: Tensor, sources: Tensor, drivers: Tensor, who: list[str]) -> Followed:
    """All N×3×S×S in [0, 1]. who: N, the sources' names: the interval is over people."""
    said, of_sources, of_drivers = (_judged(judge, shown) for shown in (drawn, sources, drivers))
    each = correlations(said.structure, of_drivers.structure)
    numbers = dict(zip(judge.structure_names, each, strict=True))
    away, near = ((said.appearance - one.appearance).norm(dim=1).double() for one in (of_drivers, of_sources))
    return Followed(
        structure=_mean(numbers.values()),
        parts={
            part: _mean(value for name, value in numbers.items() if among(name))
            for part, among in PARTS.items()
        },
        numbers=numbers,
        appearance=summary((near < away).double().tolist(), who),
    )


def correlations(said: Tensor, asked: Tensor) -> list[float | None]:
    """Pearson's, of each column of standardised numbers, N×S. Nought where what is said never changes: it
    follows nobody. None where what is asked for never does: nobody could follow it."""
    said, asked = (rows.double() - rows.double().mean(0) for rows in (said, asked))
    ours, theirs = (rows.square().mean(0).sqrt() for rows in (said, asked))
    found = (said * asked).mean(0) / (ours * theirs).clamp(min=STILL**2)
    found = torch.where(ours > STILL, found, 0.0).clamp(-1, 1)
    return [
        value if moves else None
        for value, moves in zip(found.tolist(), (theirs > STILL).tolist(), strict=True)
    ]


def _reconstruction(network: Latent, w: Tensor, who: list[str] | None = None) -> Reconstruction:
    again = network.join(*network.split(w))
    off, whole = ((w - other).flatten(1).norm(dim=1).double() for other in (again, network.latent_avg))
    psnr = pictures.psnr(draw(network, again), draw(network, w))
    return Reconstruction(summary((off / whole).tolist(), who), summary(psnr.tolist(), who))


def _judged(judge: FaceModel, shown: Tensor) -> Coefficients:
    found = [judge.coefficients(part) for part in torch.split(shown, AT_ONCE)]
    return Coefficients(*(torch.cat(half) for half in zip(*found, strict=True)))


def _by_parts(function: Callable[[Tensor], Tensor], rows: Tensor) -> Tensor:
    return torch.cat([function(part) for part in torch.split(rows, AT_ONCE)])


def _mean(values: Iterable[float | None]) -> float | None:
    """Of those that there are."""
    there = [value for value in values if value is not None]
    return sum(there) / len(there) if there else None


def _rest(motion: Motion) -> Motion:
    """One frame: the place of the first, and nothing done."""
    first = Motion(*(part[:1] for part in motion))
    return first._replace(
        expression=torch.zeros_like(first.expression),
        gaze=torch.zeros_like(first.gaze),
        rotation=torch.zeros_like(first.rotation),
    )
