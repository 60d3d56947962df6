"""The generator in what a training has left: `RUN/checkpoints/best.pt` and `step-00001234.pt`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from models import registry, weights
from models.contract import Reenactor
from trainer import checkpoint

FOLDER, BEST = "checkpoints", "best.pt"  # of a run

Network = Reenactor[Any, Any]


@dataclass(frozen=True)
class Training:
    """How far a generator was trained."""

    recipe: str
    step: int
    pictures: int


def checkpoint_at(path: Path) -> Path:
    """That file; of a run's folder the best, else the newest. Raises ValueError where there is none."""
    if not path.is_dir():
        return path
    folder = path / FOLDER
    best = folder / BEST
    found = best if best.exists() else checkpoint.latest(folder)
    if found is None:
        raise ValueError(f"{path}: there is no checkpoint in it; expected {FOLDER}/{BEST} or step-….pt")
    return found


def generator_of(path: Path, model: str | None = None, part: bool = False) -> tuple[Network, Training]:
    """The running mean of the generator in a checkpoint. Nothing that the file asks for is run.

    model: the `NAME` or `NAME:SIZE` that it has to be. part: it may be of a recipe that trains a part of the
    network only, the others being as they were made. Raises ValueError, one line that names the file, for
    anything but a whole checkpoint with finite weights of exactly that network.
    """
    state = checkpoint.read(path)
    with weights.naming(path):
        whose, tensors = state["model"], state["ema"]
        name = registry.parse(whose)[0].spec.name
        if not part and state["recipe"] != name:
            raise ValueError(
                f"of {state['recipe']}, a stage of {name}; expected a run of recipe {name}, its last"
            )
        if model not in (None, whose, whose.partition(":")[0]):
            raise ValueError(f"weights of model {whose}; expected those of {model}")
        network = weights.seeded(whose)
        expected = network.state_dict()
        weights.check_keys(tensors, expected, f"model {whose}")
        if odd := next((key for key in expected if not isinstance(tensors[key], Tensor)), None):
            raise ValueError(f"{odd} is a {type(tensors[odd]).__name__}, expected a tensor")
        weights.check_shapes(tensors, expected, f"model {whose}")
        weights.check_finite(tensors)
        network.load_state_dict(tensors)
    return network, Training(state["recipe"], state["step"], state["pictures"])
