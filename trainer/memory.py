"""What to do where a batch is too big for the memory."""

from collections.abc import Callable

import torch

ON_CPU = "DefaultCPUAllocator"  # torch has no class of its own for that


def ran_out(error: RuntimeError) -> bool:
    """Is it about memory, of a GPU or of the host?"""
    return isinstance(error, torch.OutOfMemoryError) or ON_CPU in str(error)


def largest_that_fits(size: int, attempt: Callable[[int], object], least: int = 1) -> int | None:
    """Of `size`'s divisors, each at most half of the one before, the first that `attempt` doesn't run out of
    memory with; None where not even the smallest will do that isn't below `least`. Raises whatever else
    `attempt` raises."""
    while size > 1:
        size = next(part for part in range(size // 2, 0, -1) if size % part == 0)
        if size < least:
            return None
        try:
            attempt(size)
        except RuntimeError as error:
            if not ran_out(error):
                raise
        else:
            return size
    return None


def advice(batch: int, world: int, fits: int | None) -> str:
    """One line. fits: samples of a part that a rank has room for."""
    if fits is None:
        return f"batch {batch} does not fit into memory, nor does a single sample: take a smaller --model"
    ranks, parts = f" on each of {world} ranks" if world > 1 else "", batch // (world * fits)
    return (
        f"batch {batch} does not fit into memory: --accumulate {parts} works it off in parts of {fits}"
        f"{ranks}, which fit"
    )
