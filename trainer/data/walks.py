"""Videos that a StyleGAN makes itself (Duarte et al., 001): a person's code, walked along directions in which
faces move. Half of the people aren't there; the others' codes are an encoder's, whose rows differ as the
mapping's don't.

B videos, K frames of each, P numbers of a motion (`STRUCTURE`), L rows of a code, C numbers in each
"""

from collections.abc import Generator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from models.latent import Latent
from models.weights import check_finite, naming
from trainer.data.files import write_bytes
from trainer.data.loader import check_shares
from trainer.data.synthetic.anatomy import EXPRESSIONS
from trainer.data.synthetic.motion import Motion, draw_motion
from trainer.data.synthetic.seeds import rng

STRUCTURE = (*EXPRESSIONS, "gaze_yaw", "gaze_pitch", "yaw", "pitch", "roll")
FPS = 25
FURTHEST = 3.0  # deviations of a number
STEP = 10  # frames of a motion at FPS from one frame of a walk to the next: eight of them are 3.2 s
STYLE = "wild"  # of the motions: heads turn as far as in seated clips; those of talkers turn a fifth of that
REACH = 0.8  # of the way from the mean code to a drawn one: as far as the encoder's codes of pictures lie


class Walked(NamedTuple):
    """Synthetic videos, before the generator's mapping has made codes of them."""

    z: Tensor  # B×C, of the people that the mapping makes
    seen: Tensor  # B×L×C: codes of those whom the encoder has seen; nought of the others
    other: Tensor  # B×K×C, of others: what augmentation takes what doesn't move from
    path: Tensor  # B×K×P: each frame's motion, in deviations from the mean of all
    offset: Tensor  # B×K×L×C: how real frames' codes differ from their clip's mean; nought where path isn't

    @property
    def device(self) -> torch.device:
        return self.z.device

    def to(self, device: torch.device) -> "Walked":
        return Walked(*(tensor.to(device, non_blocking=True) for tensor in self))

    def parts(self, size: int) -> list["Walked"]:
        """Of so many videos each, in order."""
        return [Walked(*found) for found in zip(*(torch.split(one, size) for one in self), strict=True)]


class Way(NamedTuple):
    """Between codes and motions, both ways, and linearly."""

    directions: Tensor  # P×L×C: a code's change with one deviation of each number
    reading: Tensor  # L×C×P: what a code says of each number, in deviations …
    bias: Tensor  # P: … and what a code of nought would


class Moves(NamedTuple):
    """In which directions codes move, and how codes of frames of real or rendered clips have moved.

    directions, from the motions' labels; offsets, from the codes' differences without any labels; middles, of
    those who moved.
    """

    directions: Tensor  # `Way`
    reading: Tensor
    bias: Tensor
    mean: Tensor  # P
    deviation: Tensor  # P
    middles: Tensor  # N×L×C: the mean of each of N clips' frames
    offsets: Tensor  # N×T×L×C: T of its frames, less that
    fit: Tensor  # the share of the offsets' variance that the directions explain; nought without labels

    @property
    def way(self) -> Way:
        return Way(self.directions, self.reading, self.bias)

    def save(self, path: Path) -> None:
        """The file is there whole or not at all."""
        from safetensors.torch import save

        write_bytes(path, save({name: tensor.contiguous() for name, tensor in self._asdict().items()}))


def load_moves(path: Path, rows: int, style: int) -> Moves:
    """Of codes of that shape. Raises ValueError, one line that names the file, for anything else."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    with naming(path):
        try:
            found = load_file(path)
        except (SafetensorError, OSError) as error:
            raise ValueError(f"can't be read: {error}") from None
        if found.keys() != set(Moves._fields):
            raise ValueError(f"holds {', '.join(sorted(found))}; expected {', '.join(Moves._fields)}")
        moves = Moves(**found)
        count = len(STRUCTURE)
        clips, frames = moves.offsets.shape[:2]
        numbers = (count,)
        shapes = (
            (count, rows, style),
            (rows, style, count),
            *(numbers, numbers, numbers),
            (clips, rows, style),
            (clips, frames, rows, style),
            (),
        )
        for name, tensor, shape in zip(Moves._fields, moves, shapes, strict=True):
            if tuple(tensor.shape) != shape:
                raise ValueError(f"{name} is {tuple(tensor.shape)}; these codes need {shape}")
        check_finite(found)
    return moves


def numbers_of(motion: Motion) -> Tensor:
    """N×P: a motion's numbers, in the order of STRUCTURE; shift and scale are the crop's."""
    return torch.cat((motion.expression, motion.gaze, motion.rotation), 1)


def numbers_from(parameters: Mapping[str, Tensor]) -> Tensor:
    """…×P: the same of rendered clips' parameters."""
    return torch.cat([parameters[name] for name in ("expression", "gaze", "rotation")], -1)


class WalkStream:
    """Endless batches of walks; number n of the ranks together is the same whatever batch it is drawn in.

    Half of the videos walk as people in rendered videos move; the others, and all where nobody knows the
    directions, take the offsets of a clip. Half of the people are those of a clip, whichever way they move.
    """

    def __init__(
        self, moves: Moves, batch: int, frames: int, seed: int = 0, rank: int = 0, world: int = 1
    ) -> None:
        check_shares(batch, frames, rank, world)
        self.moves, self.batch, self.frames = moves, batch, frames
        self.seed, self.rank, self.world = seed, rank, world
        self.position = 0  # videos that all ranks have had together

    def __iter__(self) -> Generator[Walked, None, None]:
        while True:
            first = self.position + self.rank * self.batch
            rows = [self.walk(first + row) for row in range(self.batch)]
            self.position += self.batch * self.world
            yield Walked(*(torch.stack(parts) for parts in zip(*rows, strict=True)))

    def state_dict(self) -> dict[str, int]:
        """The position, for a checkpoint."""
        return {"position": self.position, "seed": self.seed}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on from there, for whoever iterates next. Raises ValueError for a state of another seed."""
        if state["seed"] != self.seed:
            raise ValueError(f"the walks were of seed {state['seed']}; they are of {self.seed} now")
        self.position = state["position"]

    def walk(self, number: int) -> Walked:
        """One video, without B."""
        random = rng(self.seed, "walk", number)
        style = self.moves.offsets.shape[-1]
        z, other = (
            torch.from_numpy(random.standard_normal(shape).astype(np.float32))
            for shape in ((style,), (self.frames, style))
        )
        path = torch.zeros(self.frames, len(STRUCTURE))
        offset = torch.zeros(self.frames, *self.moves.offsets.shape[2:])
        if random.random() < 0.5 and self.moves.fit > 0:
            motion = draw_motion(self.seed, [number], self.frames * STEP, FPS, STYLE)
            path = (numbers_of(motion)[::STEP] - self.moves.mean) / self.moves.deviation
            path = path.clamp(-FURTHEST, FURTHEST)
        else:
            clips, frames = self.moves.offsets.shape[:2]
            chosen = torch.from_numpy(random.permutation(frames)[np.arange(self.frames) % frames])
            offset = self.moves.offsets[int(random.integers(clips))][chosen]
        seen = torch.zeros(offset.shape[1:])
        if random.random() < 0.5:
            seen = self.moves.middles[int(random.integers(len(self.moves.middles)))]
        return Walked(z, seen, other, path, offset)


def people(network: Latent, z: Tensor, way: Way, seen: Tensor | None = None) -> Tensor:
    """B×L×C: the mapping's codes, drawn towards the mean, or those of people who were seen; less what they
    say of a motion: what a code does by itself, would else count as how he looks. z: B×C; seen: B×L×C."""
    mean = network.latent_avg
    code = mean + REACH * (network.generator.map(z).unsqueeze(1) - mean)
    if seen is not None:
        code = torch.where(seen.flatten(1).any(1).view(-1, 1, 1), seen, code)
    said = torch.einsum("blc,lcp->bp", code, way.reading) + way.bias
    return code - torch.einsum("bp,plc->blc", said.clamp(-FURTHEST, FURTHEST), way.directions)


def codes(network: Latent, walked: Walked, way: Way) -> Tensor:
    """B×K×L×C: W+ codes of a walk's frames."""
    moved = torch.einsum("bkp,plc->bklc", walked.path, way.directions) + walked.offset
    return people(network, walked.z, way, walked.seen).unsqueeze(1) + moved


def unlabelled(codes: Tensor, rows: int) -> Moves:
    """Without directions. codes, rows: as for `fitted`."""
    count = len(STRUCTURE)
    shape = codes.shape[2:]
    return Moves(
        directions=codes.new_zeros(count, *shape),
        reading=codes.new_zeros(*shape, count),
        bias=codes.new_zeros(count),
        mean=codes.new_zeros(count),
        deviation=codes.new_ones(count),
        middles=codes.mean(1),
        offsets=_offsets(codes, rows),
        fit=codes.new_zeros(()),
    )


def fitted(codes: Tensor, numbers: Tensor, rows: int, ridge: float = 1e-2) -> Moves:
    """Directions by ridge regression of codes' differences from their clip's mean on those of the motions'
    numbers, and the reading by that of the numbers on the codes; both of N clips of T frames: N×T×L×C and
    N×T×P.

    rows: how many of the codes' first rows move; the finer ones tell of colours and light.
    """
    offsets = _offsets(codes, rows)
    mean, deviation = numbers.mean((0, 1)), numbers.std((0, 1)).clamp(min=0.01)
    standard = (numbers - mean) / deviation
    changes = (standard - standard.mean(1, keepdim=True)).flatten(0, 1).double()  # NT×P
    flat = offsets.flatten(2).flatten(0, 1).double()  # NT×LC
    found = regression(changes, flat, ridge)
    left = (flat - changes @ found).square().sum() / flat.square().sum()
    middle = codes.mean((0, 1))
    moving = (codes - middle)[:, :, :rows].flatten(2).flatten(0, 1).double()
    read = regression(moving / moving.std(), standard.flatten(0, 1).double(), ridge) / moving.std()
    reading = codes.new_zeros(*codes.shape[2:], len(mean))
    reading[:rows] = read.float().view(rows, codes.shape[3], -1)
    return Moves(
        directions=found.float().view(-1, *codes.shape[2:]),
        reading=reading,
        bias=-torch.einsum("lc,lcp->p", middle, reading),
        mean=mean,
        deviation=deviation,
        middles=codes.mean(1),
        offsets=offsets,
        fit=(1 - left).float(),
    )


def regression(given: Tensor, asked: Tensor, ridge: float) -> Tensor:
    """The linear map, D×E, that takes rows n×D to rows n×E. ridge: of the given numbers' variance, if that
    is one."""
    damping = ridge * len(given) * torch.eye(given.shape[1], dtype=given.dtype)
    found: Tensor = torch.linalg.solve(given.T @ given + damping, given.T @ asked)
    return found


def _offsets(codes: Tensor, rows: int) -> Tensor:
    moving = torch.arange(codes.shape[2]) < rows
    return (codes - codes.mean(1, keepdim=True)) * moving[:, None]
