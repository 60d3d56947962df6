"""The ranks of a run: torchrun's processes, or this one alone."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.rendezvous import rendezvous

from trainer.data.workers import Rank

PATIENCE = timedelta(minutes=10)  # for the others; after that one of them has died

_alone: ContextVar[bool] = ContextVar("alone", default=False)
_talking: ContextVar[dist.ProcessGroup | None] = ContextVar("talking", default=None)


@contextmanager
def joined(device: torch.device, patience: timedelta = PATIENCE) -> Iterator[Rank]:
    """All ranks of the run, until the end of the block; gloo on CPUs, nccl on GPUs. Does nothing outside
    torchrun. patience: for the others; RuntimeError is raised after that."""
    here = Rank.here()
    if "RANK" not in os.environ:
        yield here
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    store, rank, world = next(rendezvous("env://", timeout=patience))
    # After an elastic restart torchrun's store still holds the addresses of the dead (seen in torch 2.13).
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    dist.init_process_group(
        "nccl" if device.type == "cuda" else "gloo",
        store=dist.PrefixStore(f"attempt {attempt} of {world}", store),  # type: ignore[attr-defined]
        rank=rank,
        world_size=world,
        timeout=patience,
    )
    # torch (2.13) keeps DistributedDataParallel's group, with gloo's threads, beyond destroy_process_group.
    # They could still be letting go of a tensor of Python's while the interpreter ends, and abort the
    # process; what the functions below send goes through a group that does end.
    token = _talking.set(dist.new_group(timeout=patience) if device.type == "cpu" else None)
    try:
        yield here
    finally:
        _talking.reset(token)
        dist.destroy_process_group()


def device_of(wanted: str) -> torch.device:
    """auto, cpu or cuda: this rank's. Raises ValueError where there is none."""
    if wanted == "cpu" or (wanted == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise ValueError("device cuda: torch sees no GPU here; leave --device out to train on the CPU")
    local = Rank.here().local_rank or 0
    if local >= torch.cuda.device_count():
        raise ValueError(f"rank {local} of this machine has no GPU: there are {torch.cuda.device_count()}")
    return torch.device("cuda", local)


def mean_over_ranks(values: Mapping[str, Tensor]) -> dict[str, float]:
    """Numbers of every rank, by the same names, averaged."""
    if not values:
        return {}
    row = torch.stack([value.detach().float() for value in values.values()])
    if dist.is_initialized():
        dist.all_reduce(row, group=_talking.get())
        row /= dist.get_world_size()
    return dict(zip(values, row.tolist(), strict=True))


@contextmanager
def alone() -> Iterator[None]:
    """Within, `everybody` is this rank: for what the others don't do."""
    token = _alone.set(True)
    try:
        yield
    finally:
        _alone.reset(token)


def everybody(codes: Tensor) -> Tensor:
    """The rows of every rank, by rank, (ranks·V)×…, for a loss that compares each with all: with gradients.

    codes: V×…, of one shape on all ranks. Returns them as they are where there is one process only. To be
    called by every rank, in the same order, and for a loss that is the same function of the joined rows on
    each of them, as `losses.appearance_contrastive(everybody(w_a))`: the mean over ranks that
    DistributedDataParallel takes of the gradients is then the gradient of one rank with the joined batch.
    """
    if not dist.is_initialized() or _alone.get():
        return codes
    joined: Tensor = _Everybody.apply(codes)  # type: ignore[no-untyped-call]
    return joined


class _Everybody(torch.autograd.Function):
    """Every rank finds the same gradient with regard to the joined rows, so none has to be sent: a rank takes
    that of its own rows, as many times as there are ranks, by which the mean divides it again: the others'
    parameters see other rows."""

    @staticmethod
    def forward(ctx: Any, codes: Tensor) -> Tensor:
        ctx.rows = len(codes)
        found = [torch.empty_like(codes) for _ in range(dist.get_world_size())]
        dist.all_gather(found, codes.contiguous(), group=_talking.get())
        return torch.cat(found)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        first = dist.get_rank() * ctx.rows
        return gradient[first : first + ctx.rows] * dist.get_world_size()


def lost_a_rank(error: RuntimeError) -> bool:
    """Is it that another rank is gone? Gloo has no class of its own for that."""
    return isinstance(error, dist.DistError) or "gloo" in str(error)


def any_rank(here: bool, device: torch.device) -> bool:
    """Is it so on any of the ranks?"""
    if not dist.is_initialized():
        return here
    flag = torch.tensor(float(here), device=device)
    dist.all_reduce(flag, dist.ReduceOp.MAX, group=_talking.get())
    return bool(flag.item())


def from_all_ranks(tensor: Tensor) -> list[Tensor]:
    """The ranks' tensors (on the CPU, of one shape), by rank."""
    if not dist.is_initialized():
        return [tensor]
    found: list[Tensor | None] = [None] * dist.get_world_size()
    dist.all_gather_object(found, tensor, group=_talking.get())
    return [one for one in found if one is not None]
