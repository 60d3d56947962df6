"""Whether a program that draws one frame after another keeps anything of them."""

import gc
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

SETTLED = 0.1  # share of the frames after which memory has to be level
PAGES_MB = 32.0  # by which resident memory comes and goes while nothing is kept
OBJECTS, BLOCKS = 100, 1000  # likewise, however many frames there were


class Census(NamedTuple):
    """What a process holds."""

    share: float  # of the frames that were drawn until then, 0 … 1
    frames: int  # drawn until then
    resident_mb: float
    objects: int  # that the garbage collector watches
    blocks: int  # of memory that Python has given to objects, also to those that it does not watch


def census(share: float, frames: int) -> Census:
    """What there is now, without what only waits to be collected."""
    gc.collect()
    return Census(share, frames, resident_mb(), len(gc.get_objects()), sys.getallocatedblocks())


def level(found: Sequence[Census]) -> bool:
    """Is no more held at the end than after the first tenth? found: in order, one of them at `SETTLED`."""
    settled, last = next(one for one in found if one.share >= SETTLED), found[-1]
    return (
        last.objects - settled.objects <= OBJECTS
        and last.blocks - settled.blocks <= BLOCKS
        and last.resident_mb - settled.resident_mb <= PAGES_MB
    )


def resident_mb() -> float:
    """Memory of this process: what is resident now on Linux, the most there ever was elsewhere."""
    if sys.platform == "linux":
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
    import resource  # not on Windows

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)
