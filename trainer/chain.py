"""The stages of `latent`, each a recipe that goes on from what the one before it has left:

    stylegan2         mapping and synthesis
    latent_encoder    the encoder into its W+
    latent            f_E and f_D

Each trains a part of one and the same network. Public weights may stand for a stage.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from models import public_weights
from models.coefficients import CoefficientRegressor, load_coefficients
from models.deep3d import Deep3DFaceRecon, load_deep3d
from models.latent import Latent
from models.public_weights import StyleGAN2
from models.weights import check_keys, check_shapes, naming
from trainer import checkpoint
from trainer.checkpoint import State
from trainer.data.synthetic.seeds import rng
from trainer.data.workers import Rank
from trainer.trained import checkpoint_at, generator_of

AVERAGED = 10_000  # codes that the mean w is taken from
PICKLE, DEEP3D = ".pkl", ".pth"  # how NVlabs' files end, and Deep3DFaceRecon's


def begin(network: Latent, upstream: Path | None, model: str, recipe: str, before: str) -> State:
    """Load what recipe `before` has left at `upstream`, a run's folder or a checkpoint: its whole averaged
    `network`, of which this recipe trains a further part. Returns the checkpoint.

    Raises ValueError, with the command that makes it, where there is none, and for another recipe's.
    """
    made_by = f"`python -m trainer.train {before} --model {model} --output RUN` makes it: --upstream RUN"
    if upstream is None:
        raise ValueError(f"{recipe} goes on from what {before} has left, and has none; {made_by}")
    if not upstream.exists():
        raise ValueError(f"{upstream} is not there; {made_by}")
    path = checkpoint_at(upstream)
    found, training = generator_of(path, model, part=True)
    if training.recipe != before:
        raise ValueError(f"{path} is of {training.recipe}, and {recipe} goes on from {before}; {made_by}")
    network.load_state_dict(found.state_dict())
    return checkpoint.read(path)


def begin_with_stylegan2(network: Latent, path: Path) -> StyleGAN2:
    """Load the generator of a public file, NVlabs' `.pkl` or rosinality's `.pt`, and its mean w. Raises
    ValueError for what is none, and for a generator of another size."""
    found = (
        public_weights.read_nvlabs(path) if path.suffix == PICKLE else public_weights.read_rosinality(path)
    )
    _fill(network.generator, found.generator, found.size, path)
    mean = mean_w(network) if found.mean is None else found.mean
    network.latent_avg.copy_(mean.expand_as(network.latent_avg))
    return found


def begin_with_encoder(network: Latent, path: Path) -> None:
    """Load the encoder of a public e4e or pSp `.pt`, its StyleGAN2 and its mean w. Raises ValueError for what
    is none, and for codes of another shape."""
    found = public_weights.read_encoder(path)
    for part, state in ((network.encoder, found.encoder), (network.generator, found.generator)):
        _fill(part, state, found.size, path)
    network.encoder.relative = found.relative
    network.latent_avg.copy_(found.mean)


def face_model(path: Path) -> CoefficientRegressor | Deep3DFaceRecon:
    """Deep3DFaceRecon's, of a `.pth`, or what trainer.prepare coefficients has written. Raises ValueError for
    what is neither."""
    return load_deep3d(path) if path.suffix == DEEP3D else load_coefficients(path)


@torch.no_grad()
def mean_w(network: Latent) -> Tensor:
    """style: the mean of what the mapping makes of AVERAGED codes, always the same ones."""
    random = torch.Generator().manual_seed(0)
    z = torch.randn(AVERAGED, network.layout.style, generator=random)
    return network.generator.map(z.to(network.latent_avg.device)).mean(0)


def chance(seed: int, name: str, pictures: int, device: torch.device) -> torch.Generator:
    """What a step of this rank draws lots with: another for each step and rank, and the same when a run is
    gone on with."""
    number = rng(seed, f"{name} {pictures}", Rank.here().rank).integers(2**62)
    return torch.Generator(device).manual_seed(int(number))


def _fill(part: nn.Module, state: Mapping[str, Tensor], size: int, path: Path) -> None:
    with naming(path):
        ours = part.state_dict()
        check_keys(state, ours, f"a network of {size} pixels")
        check_shapes(state, ours, f"a network of {size} pixels")
    part.load_state_dict(state)
