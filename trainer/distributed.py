"""The ranks of a run: torchrun's processes, or this one alone."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.rendezvous import rendezvous

from trainer.data.workers import Rank

PATIENCE = timedelta(minutes=10)  # for the others; after that one of them has died


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
    try:
        yield here
    finally:
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
        dist.all_reduce(row)
        row /= dist.get_world_size()
    return dict(zip(values, row.tolist(), strict=True))


def lost_a_rank(error: RuntimeError) -> bool:
    """Is it that another rank is gone? Gloo has no class of its own for that."""
    return isinstance(error, dist.DistError) or "gloo" in str(error)


def any_rank(here: bool, device: torch.device) -> bool:
    """Is it so on any of the ranks?"""
    if not dist.is_initialized():
        return here
    flag = torch.tensor(float(here), device=device)
    dist.all_reduce(flag, dist.ReduceOp.MAX)
    return bool(flag.item())


def from_all_ranks(tensor: Tensor) -> list[Tensor]:
    """The ranks' tensors (on the CPU, of one shape), by rank."""
    if not dist.is_initialized():
        return [tensor]
    found: list[Tensor | None] = [None] * dist.get_world_size()
    dist.all_gather_object(found, tensor)
    return [one for one in found if one is not None]
