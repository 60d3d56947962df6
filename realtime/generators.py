"""The generator that a command line asks for: its name, its weights, and how many pictures it takes."""

import logging
from typing import Any

from models import registry, weights
from models.contract import Reenactor, Spec

log = logging.getLogger(__name__)


def make_generator(model: str, file: str | None = None, sources: int = 1) -> Reenactor[Any, Any]:
    """The generator of `NAME` or `NAME:SIZE`, with the weights of that file, or with `random` ones, of which
    the log is told.

    sources: how many pictures it shall take. Raises ValueError, in words for a user, where that is too many,
    for an unknown name or size, and for weights that are missing, needless or not that generator's.
    """
    cls, _ = registry.parse(model)
    most = cls.spec.max_sources
    if sources > most:
        takes = "one source picture" if most == 1 else f"at most {most} source pictures"
        raise ValueError(f"model {model} takes {takes}, not {sources}")
    generator = weights.create(model, file)
    if file == weights.RANDOM:
        log.warning(
            "model %s has random weights: its picture is noise, good only to see it run",
            name_of(generator.spec),
        )
    return generator


def name_of(spec: Spec) -> str:
    """`NAME`, or `NAME:SIZE` where there are several."""
    return f"{spec.name}:{spec.size}" if spec.size else spec.name
