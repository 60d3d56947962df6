"""Duarte et al., *Contrastive Learning on Synthetic Videos for GAN Latent Disentangling*: f_E and f_D of
`latent`, the last of its three stages.

It learns from videos that the generator makes itself. V videos, F frames of each, L rows of a code, C numbers
in each
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Self, cast

import torch
from torch import Tensor, nn

from models.coefficients import FaceModel
from models.latent import Latent
from models.vgg import Vgg19
from models.weights import seeded
from trainer import chain, losses
from trainer.config import Learning, Samples, Settings
from trainer.data.views import Views
from trainer.data.walks import STRUCTURE, Moves, Walked, WalkStream, Way, codes, load_moves, people
from trainer.data.workers import Rank
from trainer.distributed import everybody
from trainer.recipe import Ablation, Made, Phase, Recipe, Source, Stage, Terms, without
from trainer.recipes import Entry, each_alone

BEFORE = "latent_encoder"
JITTER = 0.02  # of augmented codes: deviation of the noise, in that of the mapping's codes
REACH = 0.5  # how far augmented codes go to another person in the rows that move; all the way in the others


@dataclass(frozen=True)
class Losses:
    """Weights of the terms (supplement, section 3)."""

    reconstruction: float = 200.0
    """Squared L2 of the code, split and joined."""
    appearance: float = 2.0
    """Contrastive: frames of a video together, people apart."""
    structure: float = 2.0
    """Contrastive: a frame and its augmentations together, frames apart."""
    cycle_code: float = 100.0
    """Squared L2 of the code, after it has lent its halves to another and got them back."""
    cycle_picture: float = 10.0
    """L1 of the picture of that."""
    face_appearance: float = 0.2
    """3DMM_a: squared L2 of what a face model says of who it is, to the appearance's picture."""
    face_structure: float = 1.0
    """3DMM_s: of what it does, to the structure's picture. Above 1 both degrade strongly."""
    margin: float = 1.0
    """γ, of the contrastive terms."""
    similarity: Literal["l2", "dot"] = "l2"
    """Of two codes: −L2, or the dot product."""


@dataclass(frozen=True)
class LatentSettings(Settings):
    """Training of f_E and f_D of latent. A batch is of videos, eight frames of each; worked off in parts
    (--accumulate), people are told apart within a part."""

    model: str = "latent:256"
    upstream: Path | None = None
    """What latent_encoder has left: a run's folder or a checkpoint."""
    weights: Path | None = None
    """A public encoder in its place, with its StyleGAN2: e4e's or pSp's .pt."""
    moves: Path | None = None
    """In which directions codes move: what trainer.prepare moves has written."""
    coefficients: Path | None = None
    """The face model of the 3DMM terms: what trainer.prepare coefficients has written, or Deep3DFaceRecon's
    .pth."""
    drawn: int = 8
    """Pictures that a step draws for the terms that need some, over all ranks."""
    loss: Losses = field(default_factory=Losses)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.drawn < 1:
            raise ValueError(f"drawn {self.drawn}: expected at least 1")
        if self.upstream is not None and self.weights is not None:
            raise ValueError("upstream and weights: there is one encoder; leave one out")


class LatentRecipe(Recipe):
    """One phase of all terms, on f_E and f_D together."""

    generator: Latent
    name = "latent"
    frames = 8
    least = 2  # one is nobody to be told from

    def __init__(self, settings: LatentSettings, vgg: Vgg19 | None = None) -> None:
        super().__init__()
        self.settings = settings
        self.weights: Losses = without(settings.loss, settings.ablate, ABLATIONS)
        self.generator = cast(Latent, seeded(settings.model, settings.seed))
        self.generator.requires_grad_(False)  # but for what the phase trains
        self.moves: Moves | None = None
        rows, style = self.generator.latent_avg.shape
        count = len(STRUCTURE)
        shapes = ((count, rows, style), (rows, style, count), (count,))
        for name, shape in zip(Way._fields, shapes, strict=True):
            self.register_buffer(name, torch.zeros(shape), persistent=False)
        self.moving: Tensor
        self.register_buffer("moving", torch.zeros(rows, dtype=torch.bool), persistent=False)
        self.face: FaceModel | None = None
        self.random = torch.Generator()

    def begin(self) -> None:
        asked, network = self.settings, self.generator
        if asked.weights is not None:
            chain.begin_with_encoder(network, asked.weights)
        else:
            chain.begin(network, asked.upstream, asked.model, self.name, BEFORE)
        if asked.moves is None:
            raise ValueError(
                f"{self.name} needs to know how codes move, and has no file of it; `python -m "
                "trainer.prepare moves --upstream RUN --output moves.safetensors` makes it: --moves "
                "moves.safetensors"
            )
        self.moves = load_moves(asked.moves, *network.latent_avg.shape)
        for ours, found in zip(self.way, self.moves.way, strict=True):
            ours.copy_(found)
        self.moving.copy_(self.moves.offsets.abs().amax((0, 1, 3)) > 0)
        if self.weights.face_appearance or self.weights.face_structure:
            if asked.coefficients is None:
                raise ValueError(
                    f"{self.name}'s 3DMM terms need a face model; `python -m trainer.prepare coefficients "
                    "--output coefficients.safetensors` makes one: --coefficients coefficients.safetensors, "
                    "or leave them out with --ablate 3dmm-appearance 3dmm-structure"
                )
            self.face = chain.face_model(asked.coefficients)

    def train(self, mode: bool = True) -> Self:
        """But for what doesn't learn."""
        super().train(mode)
        self.generator.encoder.eval()
        if isinstance(self.face, nn.Module):
            self.face.eval()
        return self

    def source(self, count: int, here: Rank) -> Source:
        assert self.moves is not None, "begin() comes first"
        return WalkStream(self.moves, count, self.frames, self.settings.seed, here.rank, here.world)

    def example(self, count: int, device: torch.device) -> Walked:
        rows, style = self.generator.latent_avg.shape
        return Walked(
            z=torch.randn(count, style, device=device),
            seen=torch.randn(count, rows, style, device=device),
            other=torch.randn(count, self.frames, style, device=device),
            path=torch.randn(count, self.frames, len(STRUCTURE), device=device),
            offset=torch.randn(count, self.frames, rows, style, device=device),
        )

    @property
    def way(self) -> Way:
        """On the recipe's device."""
        return Way(*(self.get_buffer(name) for name in Way._fields))

    @property
    def networks(self) -> Mapping[str, nn.Module]:
        return {"f_e": self.generator.f_e, "f_d": self.generator.f_d}

    def stages(self) -> tuple[Stage, ...]:
        both = ("f_e", "f_d")
        return (Stage("all", 1.0, (Phase("halves", both, self.loss),), dict.fromkeys(both, 1.0)),)

    def new_step(self, pictures: int) -> None:
        device = self.moving.device
        self.random = chain.chance(self.settings.seed, self.name, pictures, device)

    def loss(self, walked: Walked, made: Made) -> Terms:
        """Supplement, sections 1 and 3; each video lends its structure to the next one."""
        weights = self.weights
        code = self.codes(walked)  # V×F×L×C
        w_a, w_s = self._split(code)
        terms = {"reconstruction": weights.reconstruction * losses.squared_l2(self._join(w_a, w_s), code)}
        like, margin = weights.similarity, weights.margin
        if weights.appearance:
            contrast = losses.appearance_contrastive(everybody(w_a), margin, like)
            terms["appearance"] = weights.appearance * contrast
        if weights.structure:
            other = self._split(self.augmented(walked, code))[1]
            contrast = losses.structure_contrastive(w_s, other, margin, like)
            terms["structure"] = weights.structure * contrast
        swapped = self._join(w_a, w_s.roll(1, 0))
        halves = self._split(swapped)
        cycled = self._join(halves[0], halves[1].roll(-1, 0))
        if weights.cycle_code:
            terms["cycle code"] = weights.cycle_code * losses.squared_l2(cycled, code)
        return terms | self._of_pictures(code, swapped, cycled)

    def codes(self, walked: Walked) -> Tensor:
        """V×F×L×C: the walks' codes."""
        with torch.no_grad():
            return codes(self.generator, walked, self.way)

    def augmented(self, walked: Walked, code: Tensor) -> Tensor:
        """V×F×L×C: the same frames of others, for the most part in the rows that don't move, and noise."""
        with torch.no_grad():
            person = people(self.generator, walked.z, self.way, walked.seen)
            other = people(self.generator, walked.other.flatten(0, 1), self.way).view_as(code)
            lots = torch.rand(*code.shape[:2], 1, 1, generator=self.random, device=code.device)
            share = torch.where(self.moving[:, None], REACH * lots, 1.0)
            noise = torch.randn(code.shape, generator=self.random, device=code.device)
            found = code + share * (other - person.unsqueeze(1))
            return found + JITTER * other.std() * noise

    def drawn(self, views: Views) -> Tensor:
        network = self.generator
        w_a, _ = network.split(network.invert(views.image[:, 0]))
        _, w_s = network.split(network.invert(views.image[:, -1]))
        return self._pictures(network.join(w_a, w_s)).clamp(0, 1)

    def looks(self, views: Views) -> Mapping[str, Tensor]:
        """The inversions, which are the best that it could draw, and the structure of somebody else."""
        network = self.generator
        source, driving = (network.invert(views.image[:, frame]) for frame in (0, -1))
        (w_a, _), (_, w_s) = network.split(source), network.split(driving)
        pictures = {
            "inverted source": source,
            "inverted target": driving,
            "across": network.join(w_a, w_s.roll(1, 0)),
        }
        return {name: self._pictures(code).clamp(0, 1) for name, code in pictures.items()}

    def _of_pictures(self, code: Tensor, swapped: Tensor, cycled: Tensor) -> Terms:
        """The terms on what is drawn: of the first frames of some videos."""
        weights, terms = self.weights, Terms()
        count = max(1, min(self.settings.drawn // Rank.here().world, len(code)))
        with torch.no_grad():
            theirs = self._pictures(code.roll(1, 0)[:count, 0])
            truth = self._pictures(code[:count, 0])
        if weights.cycle_picture:
            drawn = self._pictures(cycled[:count, 0])
            terms["cycle picture"] = weights.cycle_picture * losses.l1(drawn, truth)
        if self.face is not None:
            said = self.face.coefficients(self._pictures(swapped[:count, 0]))
            with torch.no_grad():
                who, what = self.face.coefficients(truth), self.face.coefficients(theirs)
            if weights.face_appearance:
                apart = losses.squared_l2(said.appearance, who.appearance)
                terms["3dmm appearance"] = weights.face_appearance * apart
            if weights.face_structure:
                apart = losses.squared_l2(said.structure, what.structure)
                terms["3dmm structure"] = weights.face_structure * apart
        return terms

    def _split(self, code: Tensor) -> tuple[Tensor, Tensor]:
        w_a, w_s = self.generator.split(code.flatten(0, 1))
        return w_a.view_as(code), w_s.view_as(code)

    def _join(self, w_a: Tensor, w_s: Tensor) -> Tensor:
        return self.generator.join(w_a.flatten(0, 1), w_s.flatten(0, 1)).view_as(w_a)

    def _pictures(self, code: Tensor) -> Tensor:
        """B×3×S×S, about [0, 1]. code: B×L×C."""
        drawn: Tensor = self.generator.generator(code)
        return (drawn.float() + 1) / 2


ABLATIONS = {
    "3dmm-appearance": Ablation(
        {"face_appearance": 0.0}, "AKD falls (1.928 to 1.517), ACED rises (0.711 to 0.768)", "akd", -1
    ),
    "3dmm-structure": Ablation(
        {"face_structure": 0.0}, "AKD rises (1.928 to 2.299), ACED falls (0.711 to 0.665)", "akd", 1
    ),
    "cycle-code": Ablation(
        {"cycle_code": 0.0}, "AKD falls (1.928 to 1.515), ACED rises (0.711 to 0.730)", "akd", -1
    ),
    "cycle-picture": Ablation(
        {"cycle_picture": 0.0}, "AKD rises (1.928 to 1.976), ACED too (0.711 to 0.714)", "akd", 1
    ),
    "contrastive": Ablation(
        {"appearance": 0.0, "structure": 0.0},
        "AKD rises (1.928 to 2.193), ACED too (0.711 to 0.769)",
        "akd",
        1,
    ),
    "distance": Ablation(
        {"similarity": "dot"},
        "dot product: AKD falls (1.928 to 1.583), ACED rises (0.711 to 0.755)",
        "akd",
        -1,
    ),
}

CONFIGS: dict[str, Settings] = {
    # Supplement, section 3: Adam 5e-5, cosine, 50 epochs, 256 codes. How many videos an epoch has, is open.
    "paper": LatentSettings(
        pictures=1_000_000,
        batch=32,
        learning=Learning(generator=5e-5, betas=(0.9, 0.999), schedule="cosine"),
        checkpoint_every=100_000,
        sample_every=100_000,
        log_every=10_000,
        samples=Samples(workers=4),
    ),
    "light": LatentSettings(
        model="latent:light",
        pictures=1_000_000,
        batch=64,
        drawn=32,
        learning=Learning(generator=2e-4, betas=(0.9, 0.999), schedule="cosine"),
        checkpoint_every=100_000,
        sample_every=100_000,
        log_every=10_000,
        samples=Samples(workers=4),
    ),
    "tiny": LatentSettings(
        model="latent:tiny",
        pictures=45_000,
        batch=8,
        learning=Learning(generator=5e-4, betas=(0.9, 0.999), schedule="cosine", ema=5_000),
        sample_every=16_000,
        checkpoint_every=16_000,
    ),
}

ENTRY = Entry(LatentSettings, CONFIGS, ABLATIONS, LatentRecipe, each_alone(ABLATIONS))
