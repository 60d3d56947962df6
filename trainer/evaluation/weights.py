"""The network that is to be judged, from a file or by its name."""

from pathlib import Path

from models import registry, weights
from trainer.evaluation.framing import Network
from trainer.trained import checkpoint_at, generator_of

CHECKPOINT = ".pt"


def network_of(given: str) -> Network:
    """Of safetensors that `models.weights` wrote; of a training run or one of its checkpoints: the running
    mean of its generator; or by the name of a model that needs no weights (`warp`), where no file or folder
    has that name. Raises ValueError, in one line, for anything else."""
    path = Path(given)
    if not path.exists() and given.partition(":")[0] in registry.names():
        return weights.create(given)
    if path.is_dir() or path.suffix == CHECKPOINT:
        return generator_of(checkpoint_at(path))[0]
    return weights.load(path)
