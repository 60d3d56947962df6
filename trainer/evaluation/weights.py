"""The network that is to be judged, from a file or by its name."""

from collections.abc import Mapping
from pathlib import Path

import torch

from models import pickles, registry, weights
from trainer.evaluation.framing import Network

CHECKPOINT = ".pt"


def network_of(given: str) -> Network:
    """Of safetensors that `models.weights` wrote; of a checkpoint of a training run, of which nothing is run:
    the running mean of its generator; or by the name of a model that needs no weights (`warp`). Raises
    ValueError, in one line, for anything else."""
    if given.partition(":")[0] in registry.names():
        return weights.create(given)
    if given.endswith(CHECKPOINT):
        return _averaged(Path(given))
    return weights.load(given)


def _averaged(path: Path) -> Network:
    if not path.is_file():
        raise ValueError(f"{path}: there is no such file; expected a checkpoint of trainer.train")
    state = pickles.tensors(path)
    with weights.naming(path):
        if not isinstance(state, Mapping) or not isinstance(state.get("model"), str):
            raise ValueError("not a checkpoint of trainer.train: it has no 'model'")
        model, tensors = state["model"], state.get("ema")
        if not isinstance(tensors, Mapping) or not all(
            isinstance(one, torch.Tensor) for one in tensors.values()
        ):
            raise ValueError("not a checkpoint of trainer.train: its 'ema' is missing or no state dict")
        network = weights.seeded(model)
        expected = network.state_dict()
        weights.check_keys(tensors, expected, f"model {model}")
        weights.check_shapes(tensors, expected, f"model {model}")
        weights.check_finite(tensors)
        network.load_state_dict(dict(tensors))
    return network
