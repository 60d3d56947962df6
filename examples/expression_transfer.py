"""Who looks how, and who does what: a grid of both. In its first row are the expressions, in its first column
the people, and in each cell the person of its row does what its column's driver does:

    python examples/expression_transfer.py --weights warp --sources examples/mona_lisa.jpg \
        --drivers tests/media/astronaut.jpg --output grid.png

With a network that was trained, and rendered people whom its training with this seed has held out:

    python examples/expression_transfer.py --weights runs/latent-tiny --output grid.png

With `latent`, a cell is G(f_D(w^(a) of the row, w^(s) of the column)): Duarte et al., Figure 3.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from models.command_line import parse, reported
from models.contract import Controls, Observation, map_code
from models.native_messages import native_messages_muted
from models.observation import observe, to_unit
from models.portrait_face import portrait_face
from models.weights import naming
from realtime.pictures import load_picture
from trainer.evaluation.framing import Network, driving_rule, seen, seen_as_source
from trainer.evaluation.pages import save_picture
from trainer.evaluation.probing import gallery
from trainer.evaluation.weights import network_of

NAME = "python examples/expression_transfer.py"
LARGER, LARGEST = 1.5, 384  # side of rendered pictures: of the network's crop, and pixels at most
LEAST = 128  # pixels that a picture is shown with


@dataclass(frozen=True)
class Settings:
    """What to draw. Raises ValueError for sources without drivers and the other way round."""

    weights: str
    """Of the network: safetensors, a training run or a checkpoint of one, or the name of a model that needs
    none (warp)."""
    output: Path
    """Picture to write, .png."""
    sources: tuple[Path, ...] = ()
    """Pictures of people, one a row; without any, rendered ones are shown."""
    drivers: tuple[Path, ...] = ()
    """Pictures of expressions, one a column."""
    people: int = 5
    """Rendered people, and as many other ones' expressions."""
    seed: int = 0
    """Of the rendered people: the training's own, whose held-out people these then are."""

    def __post_init__(self) -> None:
        if bool(self.sources) != bool(self.drivers):
            raise ValueError("sources and drivers: give pictures for both, or for neither")
        if self.people < 2:
            raise ValueError(f"people {self.people}: expected at least 2")
        if self.output.suffix.lower() != ".png":
            raise ValueError(f"output {self.output}: expected a name that ends in .png")


class Seen(NamedTuple):
    """A person as a network sees him, batch 1 each."""

    source: Observation
    driving: Observation


def photographed(paths: Sequence[Path], network: Network) -> list[Seen]:
    """The largest face of each picture. Raises ValueError, one line that names the file."""
    found = []
    with native_messages_muted():
        for path in paths:
            picture = load_picture(path)
            with naming(path):
                points = portrait_face(picture).points
            rules = network.spec.source, driving_rule(network.spec)
            found.append(Seen(*(to_unit(observe(picture, points, rule)) for rule in rules)))
    return found


def rendered(network: Network, people: int, seed: int) -> tuple[list[Seen], list[Seen]]:
    """So many sources, and as many others that drive them."""
    side = min(round(LARGER * network.spec.source.size), LARGEST)
    samples = gallery(seed, 2 * people, 2, side).samples[::2]  # each in the first of two scenes
    found = [
        Seen(_first(seen_as_source(one, network.spec)), _first(seen(one, network.spec))) for one in samples
    ]
    return found[:people], found[people:]


@torch.no_grad()
def grid(network: Network, sources: Sequence[Seen], drivers: Sequence[Seen]) -> Tensor:
    """3×H×W in [0, 1]. Motion is absolute; what a network can't know without comparing is since the source's
    own picture."""
    side = network.spec.source.size
    shown = [_sized(one.driving.image[0], side) for one in drivers]
    rows = [torch.cat([torch.ones_like(shown[0]), *shown], 2)]
    for source in sources:
        appearance = network.encode_appearance([source.source])
        neutral = network.neutral([network.encode_structure(source.driving)])
        cells = [source.source.image[0]]
        for driver in drivers:
            # Where a face lies in its own photograph is no motion.
            driving = driver.driving._replace(to_frame=source.driving.to_frame)
            structure = network.encode_structure(driving)
            moved = network.transfer(structure, neutral, appearance, Controls.default(relative=0.0))
            cells.append(network.decode(appearance, moved)[0][0].float().clamp(0, 1))
        rows.append(torch.cat(cells, 2))
    enlarged = max(1, LEAST // side)
    return torch.cat(rows, 1).repeat_interleave(enlarged, 1).repeat_interleave(enlarged, 2)


def _first(seen_here: Observation) -> Observation:
    return map_code(lambda rows: rows[:1], seen_here)


def _sized(picture: Tensor, side: int) -> Tensor:
    if picture.shape[-1] == side:
        return picture
    return F.interpolate(picture[None], (side, side), mode="bilinear", antialias=True)[0].clamp(0, 1)


def run(settings: Settings) -> None:
    """Raises ValueError and OSError, one line, for what can't be done."""
    network = network_of(settings.weights).eval().requires_grad_(False)
    if settings.sources:
        sources, drivers = (photographed(paths, network) for paths in (settings.sources, settings.drivers))
    else:
        sources, drivers = rendered(network, settings.people, settings.seed)
    save_picture(settings.output, grid(network, sources, drivers))
    print(f"{settings.output}: {len(sources)} people with {len(drivers)} expressions each")


if __name__ == "__main__":
    settings = parse(Settings, sys.argv[1:], NAME, __doc__)
    sys.exit(reported(lambda: run(settings), NAME))
